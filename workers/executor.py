"""One run, from its claim to its end: layers, sandbox, harness, transcript, results."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from msgspec.structs import replace

from adapters.scratch import disk_work, scratch_directory
from adapters.settings import Settings
from adapters.tracing import past
from adapters.wiring import Services
from domain.entries import LogWritten
from domain.errors import Invalid, Unavailable
from domain.handling import Unit
from domain.merkle import Frontier
from domain.ports import DropLease
from domain.runs import (
    RUN,
    AnchorRun,
    EndRun,
    RunEnded,
    RunFile,
    RunRequested,
    StartRun,
    Usage,
)
from workers.claims import Claim
from workers.doors import Doors
from workers.harnesses.harness import MAX_OUTPUT_BYTES, Result
from workers.histories import History, read_history
from workers.outages import surely
from workers.outcomes import Ending, collect_files, cut, judge
from workers.plans import CannotRun, Plan, Workshop, plan_run
from workers.pool import Place
from workers.pumps import Cancel, Halt, Pump
from workers.sandboxes.driver import Exit, Sandbox, SandboxUnsupported
from workers.transcripts import Transcript

log = structlog.stdlib.get_logger(__name__)


class Execution:
    """One attempt of one run.

    settle: called before the append that ends the run and gives up its lease.
    """

    def __init__(
        self,
        services: Services,
        workshop: Workshop,
        claim: Claim[RunRequested],
        doors: Doors,
        *,
        cancel: Cancel,
        settle: Callable[[], None],
    ) -> None:
        self._services = services
        self._workshop = workshop
        self._claim = claim
        self._doors = doors
        self._cancel = cancel
        self._settle = settle
        self._stages: dict[str, float] = {}
        self._warm = False
        self._reached = claim.claimed_at

    async def run(self) -> RunEnded:
        """Do the run and record how it ended.

        Raises Conflict when the run is not ours any more, Unavailable when this machine cannot do
        it now and another one might; either way nothing of it is left here.
        """
        claim, store = self._claim, self._services.store
        history = await read_history(store, claim.stream) if claim.attempt > 1 else History()
        async with Transcript(
            store,
            claim.stream,
            attempt=claim.attempt,
            history=history,
            meta=claim.meta,
            anchor=self._anchor,
        ) as transcript:
            plan = await plan_run(self._services, self._workshop, claim)
            self._reach("layers")
            match plan:
                case CannotRun(reason=reason, detail=detail):
                    end = self._ended(Ending(how="failed", reason=reason, detail=detail))
                case Plan():
                    end = await self._perform(plan, transcript)
            await transcript.flush()
            frontier = transcript.frontier
        end = replace(end, entries=frontier.count, entries_root=frontier.root())
        await self._record(end)
        return end

    async def _perform(self, plan: Plan, transcript: Transcript) -> RunEnded:
        try:
            opening = self._workshop.pool.open(plan.spec, plan.launch, plan.layer)
            async with opening as (place, self._warm):
                self._reach("sandbox")
                doors = self._doors.open(self._claim, plan.settings, transcript, place.gateway)
                async with doors as door:
                    end = await self._perform_in(place, plan, transcript, door.halt)
            return replace(end, usage=door.usage(end.usage))
        except SandboxUnsupported as refusal:
            detail = refusal.detail
            return self._ended(Ending(how="failed", reason="sandbox_unavailable", detail=detail))
        except Invalid as refusal:  # a variable's value that no program can be given
            detail = refusal.detail
            return self._ended(Ending(how="failed", reason="harness_error", detail=detail))

    async def _perform_in(
        self, place: Place, plan: Plan, transcript: Transcript, halt: Halt
    ) -> RunEnded:
        sandbox = place.sandbox
        reader = plan.harness.reader(plan.task)
        pump = Pump(sandbox, reader, transcript, plan.limits)
        began = time.monotonic()

        async def say_started() -> None:
            self._reach("started")
            await self._say_started(sandbox)

        program = place.start(plan.launch)
        end, verdict = await pump.run(program, self._cancel, say_started, halt)
        seconds = time.monotonic() - began
        past("program", seconds)
        entries, result = reader.finish(code=end.code, signal=end.signal)
        if verdict != "output_limit":
            transcript.add(entries)
        ending = judge(
            verdict,
            end,
            result,
            plan.limits,
            cancelled=self._cancel.detail,
            halted=(halt.reason, halt.detail),
        )
        ended = self._ended(ending, end, result, seconds)
        files, left_out = await self._collect(sandbox, plan)
        if not result.output_complete:
            left_out.append(f"The answer was cut: {MAX_OUTPUT_BYTES // 1024} KiB of it are kept.")
        left_out += [f"The variable {name} was too large to be passed." for name in plan.left_out]
        transcript.add([LogWritten(stream="system", line=line) for line in left_out])
        return replace(ended, files=files, output_digest=await self._keep_output(result))

    async def _say_started(self, sandbox: Sandbox) -> None:
        claim = self._claim
        command = StartRun(
            run_id=claim.id,
            attempt=claim.attempt,
            sandbox=sandbox.id,
            stages=self._stages,
            warm=self._warm,
        )

        async def send() -> None:
            commands = self._services.commands
            await commands.send(RUN, claim.id, command, claim.meta(), attempt=claim.attempt)

        await surely(send)
        log.info("run.started", warm=self._warm, **self._stages)

    async def _anchor(self, unit: Unit, frontier: Frontier) -> None:
        id = self._claim.id
        root = frontier.root()
        command = AnchorRun(run_id=id, entries=frontier.count, entries_root=root)
        await unit.decide(RUN, id, command, attempt=self._claim.attempt)

    async def _collect(self, sandbox: Sandbox, plan: Plan) -> tuple[list[RunFile], list[str]]:
        source: Mapping[str, str] = plan.source if plan.launch.copies_source else {}
        try:
            with (
                disk_work("Copying them out of the sandbox"),
                scratch_directory(results_scratch(self._services.settings)) as into,
            ):
                return await collect_files(sandbox, into, self._services.blobs, source)
        except Unavailable as error:  # the answer is worth more than the files
            log.warning("run.files_lost", error=error.detail)
            return [], [f"The run's files could not be kept: {error.detail}"]

    async def _keep_output(self, result: Result) -> str:
        _, whole = cut(result.output)
        if whole:
            return ""
        try:
            return await self._services.blobs.put(result.output.encode(errors="replace"))
        except Unavailable as error:
            log.warning("run.output_cut", error=error.detail)
            return ""

    async def _record(self, end: RunEnded) -> None:
        claim = self._claim
        command, drop = EndRun(end=end), DropLease()
        self._settle()

        async def send() -> None:
            commands, attempt = self._services.commands, claim.attempt
            meta = claim.meta()
            await commands.send(RUN, claim.id, command, meta, attempt=attempt, lease=drop)

        await surely(send)
        log.info(
            "run.ended",
            how=end.how,
            reason=end.reason,
            entries=end.entries,
            seconds=round(end.usage.seconds, 3),
        )

    def _ended(
        self,
        ending: Ending,
        end: Exit | None = None,
        result: Result | None = None,
        seconds: float = 0.0,
    ) -> RunEnded:
        output, _ = cut(result.output) if result else ("", True)
        return RunEnded(
            run_id=self._claim.id,
            how=ending.how,
            reason=ending.reason,
            detail=ending.detail,
            attempt=self._claim.attempt,
            exit_code=end.code if end else None,
            output=output,
            extra=dict(result.extra) if result else {},
            usage=Usage(
                seconds=round(seconds, 6),
                cpu_seconds=(end and end.cpu_seconds) or 0.0,
                peak_memory_mb=(end and end.peak_memory_mb) or 0.0,
                input_tokens=result.input_tokens if result else 0,
                output_tokens=result.output_tokens if result else 0,
            ),
        )

    def _reach(self, stage: str) -> None:
        """Note how many milliseconds after the claim a stage was done."""
        now = time.monotonic()
        self._stages[stage] = round((now - self._claim.claimed_at) * 1000, 3)
        past(stage, now - self._reached)
        self._reached = now


def results_scratch(settings: Settings) -> Path:
    """Return where results wait between their sandbox and the blob store."""
    return settings.data / "results"
