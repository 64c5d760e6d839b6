"""The run host: one process per machine that runs agents, many at a time, in sandboxes.

No agent code runs in it. A hint becomes a task; a task claims its run, or stops; one task renews
all leases, one hears of cancellations, one destroys sandboxes that other hosts here left behind.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
from prometheus_client import Gauge
from structlog.contextvars import bind_contextvars

from adapters.tracing import fail
from adapters.wiring import Services
from domain.errors import ArgosyError, Conflict, NotFound, Unavailable
from domain.ids import split_stream
from domain.runs import RunCancelRequested, RunRequested
from workers.attempts import attempted
from workers.claims import Claim, claim_run
from workers.doors import Doors, open_doors
from workers.envelopes import new_owner
from workers.executor import Execution, results_scratch
from workers.heartbeats import Heartbeats
from workers.losing import Loss, end_after_bug, lose, take_over
from workers.outages import surely
from workers.plans import Workshop, expect_plain_runs
from workers.pumps import Cancel
from workers.rq_host import Hints
from workers.sandboxes.cgroups import Cgroups, detect
from workers.sandboxes.namespaces import Paths
from workers.stopping import Stop
from workers.sweeping import sweep_folders, sweep_sandboxes
from workers.workshops import open_workshop, places_scratch

JOIN_SECONDS = 3.0
# Every append wakes all hosts, and next to none is a cancellation: they look at several at once.
GATHER_SECONDS = 0.02
ORPHANS_EVERY_SECONDS = 15.0
TRIM_EVERY_SECONDS = 300.0

SLOTS = Gauge("argosy_run_slots", "Runs that this host holds at most.")
HOSTED = Gauge("argosy_runs_hosted", "Runs that this host holds now.")

log = structlog.stdlib.get_logger(__name__)


class Hosted:
    """One run on this host; `claim` once it is ours."""

    def __init__(self) -> None:
        self.cancel = Cancel()
        self.claim: Claim[RunRequested] | None = None
        self.task: asyncio.Task[None] | None = None


class RunHost:
    """Runs runs. `owner` is what its leases and events call it."""

    def __init__(
        self,
        services: Services,
        workshop: Workshop,
        doors: Doors,
        *,
        cgroups: Cgroups | None = None,
    ) -> None:
        self.owner = new_owner("host")
        self._services = services
        self._workshop = workshop
        self._cgroups = cgroups
        self._doors = doors
        self._loop = asyncio.get_running_loop()
        self._runs: dict[str, Hosted] = {}
        self._stopping = False
        self._strays: dict[str, asyncio.Task[None]] = {}
        settings = services.settings
        self._heartbeats = Heartbeats(
            services.leases,
            self.owner,
            settings.lease_seconds,
            lost=self._stop_lost,
            stray=self._find_stray,
        )
        SLOTS.set(settings.run_slots)
        self._hints = Hints(settings.redis, self.owner, settings.run_slots, self._take)

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event | None = None) -> None:
        """Host runs until `stop`, then those that are under way until they end.

        At `hurry`, or after `settings.drain_seconds`, what is left is handed to other hosts.
        """
        background = [
            self._background(self._heartbeats.run()),
            self._background(self._hear_cancellations(await self._head())),
            self._background(self._sweep_orphans()),
            self._background(self._trim_layers()),
            self._background(self._workshop.pool.keep()),
        ]
        expect_plain_runs(self._workshop)
        self._hints.start()
        stopped = self._background(_passed(stop))
        try:
            await asyncio.wait({*background, stopped}, return_when=asyncio.FIRST_COMPLETED)
            self._stopping = True
            self._hints.stop()
            await self._drain(background, hurry or asyncio.Event())
            for task in (stopped, *background):
                if task.done():
                    task.result()  # a bug in the background ends the host, audibly
        finally:
            self._hints.stop()
            await self._hand_back()
            for task in (*background, stopped):
                task.cancel()
            await asyncio.gather(*background, stopped, return_exceptions=True)
            await self._workshop.pool.close()
            await asyncio.to_thread(self._hints.join, JOIN_SECONDS)

    # -- taking hints

    def _take(self, stream: str) -> None:
        """Called in the thread of the hints."""
        self._loop.call_soon_threadsafe(self._begin, stream)

    def _begin(self, stream: str) -> None:
        if (
            stream in self._runs or self._stopping
        ):  # told twice, or too late: the reaper tells again
            self._hints.free()
            return
        hosted = self._runs[stream] = Hosted()
        HOSTED.inc()
        hosted.task = asyncio.create_task(self._host(stream, hosted))

    async def _host(self, stream: str, hosted: Hosted) -> None:
        _, id = split_stream(stream)
        self._heartbeats.claiming(stream)
        bind_contextvars(run=id)  # in this task
        try:
            await self._run_claimed(stream, hosted)
        except Unavailable as error:
            log.warning("run.put_off", error=error.detail)
            await self._give_up(stream, hosted, error.detail)
        except (Conflict, NotFound) as refusal:
            log.warning("run.overtaken", why=refusal.detail)
        except Exception as error:  # the boundary of RQ's job: a bug ends its run, not the host
            log.exception("run.broke")
            await self._end_broken(stream, hosted, error)
        finally:
            self._heartbeats.forget(stream)
            self._runs.pop(stream, None)
            HOSTED.dec()
            self._hints.free()

    async def _run_claimed(self, stream: str, hosted: Hosted) -> None:
        _, id = split_stream(stream)
        claim = await claim_run(self._services, id, self.owner)
        if claim is None:
            log.debug("run.not_ours")
            return
        hosted.claim = claim
        self._heartbeats.hold(stream, claim.held_until)
        execution = Execution(
            self._services,
            self._workshop,
            claim,
            self._doors,
            cancel=hosted.cancel,
            settle=lambda: self._heartbeats.settle(stream),
        )
        agent = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": claim.request.agent_name,
            "gen_ai.agent.id": claim.request.agent_id,
        }
        with attempted(claim, f"invoke_agent {claim.request.agent_name}", agent) as span:
            log.info("run.claimed")
            end = await execution.run()
            span.set_attribute("argosy.run.how", end.how)
            if end.how == "failed":
                fail(span, end.reason or end.how)
        hosted.claim = None

    async def _give_up(self, stream: str, hosted: Hosted, detail: str) -> None:
        """Let another attempt be made. If that cannot be said now, the stray lease says it."""
        if hosted.claim is None:
            return
        loss = Loss(stream=stream, attempt=hosted.claim.attempt, said_by=self.owner, detail=detail)
        try:
            await lose(self._services, loss)
        except Unavailable as error:
            log.warning("run.not_given_up", run=hosted.claim.id, error=error.detail)

    async def _end_broken(self, stream: str, hosted: Hosted, error: Exception) -> None:
        if hosted.claim is None:
            return
        detail = f"Argosy could not run it: {type(error).__name__}."
        loss = Loss(stream=stream, attempt=hosted.claim.attempt, said_by=self.owner, detail=detail)
        try:
            await end_after_bug(self._services, loss)
        except ArgosyError as refusal:
            log.warning("run.not_ended", run=hosted.claim.id, why=refusal.detail)

    # -- leases

    def _stop_lost(self, stream: str) -> None:
        """Stop at once what another host may be doing already; nothing more of it is stored."""
        hosted = self._runs.get(stream)
        if hosted is not None and hosted.task is not None:
            hosted.claim = None
            hosted.task.cancel()

    def _find_stray(self, stream: str) -> None:
        if stream not in self._strays:
            task = asyncio.create_task(self._settle_stray(stream))
            self._strays[stream] = task
            task.add_done_callback(lambda _: self._strays.pop(stream, None))

    async def _settle_stray(self, stream: str) -> None:
        """Give up a lease that is ours although nobody here works on it any more."""
        try:
            held = await self._services.leases.held(stream)
            if held is not None and held.owner == self.owner and stream not in self._runs:
                detail = f"The worker {self.owner} gave it up."
                await take_over(self._services, held, said_by=self.owner, detail=detail)
        except Unavailable as error:
            log.warning("lease.stray", stream=stream, error=error.detail)

    # -- in the background

    async def _hear_cancellations(self, after: int) -> None:
        """Tell runs here that somebody asked for their end, as the log says so."""
        types = [RunCancelRequested.tag()]
        while True:
            try:
                follow = self._services.store.follow
                async for batch in follow(after=after, types=types, gather=GATHER_SECONDS):
                    for recorded in batch:
                        hosted = self._runs.get(recorded.stream)
                        if hosted is not None:
                            hosted.cancel.ask(recorded.event.detail)
                        after = recorded.position or after
            except Unavailable as error:
                log.warning("cancellations.not_heard", error=error.detail)
                await asyncio.sleep(1.0)

    async def _sweep_orphans(self) -> None:
        settings = self._services.settings
        scratches = (results_scratch(settings), places_scratch(settings))
        await sweep_folders(self._services.blobs, self._workshop.layers, *scratches)
        while True:
            await sweep_sandboxes(self._cgroups)
            await asyncio.sleep(ORPHANS_EVERY_SECONDS)

    async def _trim_layers(self) -> None:
        while True:
            await self._workshop.layers.trim()
            await asyncio.sleep(TRIM_EVERY_SECONDS)

    async def _head(self) -> int:
        head = 0

        async def ask() -> None:
            nonlocal head
            head = await self._services.store.head()

        await surely(ask)
        return head

    def _background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(work)

    # -- stopping

    async def _drain(self, background: list[asyncio.Task[None]], hurry: asyncio.Event) -> None:
        """Let runs end; they need their leases and cancellations for as long."""
        runs = self._tasks()
        if not runs:
            return
        seconds = self._services.settings.drain_seconds
        log.info("host.draining", runs=len(runs), seconds=seconds)
        ended = asyncio.gather(*runs, return_exceptions=True)
        hurried = self._background(_passed(hurry))
        await asyncio.wait(
            {ended, hurried, *background}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        hurried.cancel()
        log.info("host.drained", left=len(self._tasks()), hurried=hurry.is_set())

    async def _hand_back(self) -> None:
        """Stop what is still going on, and let other hosts take it at once."""
        left = [hosted.claim for hosted in self._runs.values() if hosted.claim is not None]
        tasks = [*self._tasks(), *self._strays.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for claim in left:
            loss = Loss(
                stream=claim.stream,
                attempt=claim.attempt,
                said_by=self.owner,
                detail=f"The worker {self.owner} was stopped.",
            )
            try:
                await lose(self._services, loss)
            except Unavailable as error:  # its lease runs out soon
                log.warning("run.not_handed_back", run=claim.id, error=error.detail)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [hosted.task for hosted in self._runs.values() if hosted.task is not None]


async def _passed(event: asyncio.Event) -> None:
    await event.wait()


def host_with(paths: Paths) -> Callable[[Services, Stop], Awaitable[None]]:
    """Return the loop of a run host on a machine that was prepared."""

    async def run(services: Services, stop: Stop) -> None:
        workshop = open_workshop(services, paths)
        cgroups = detect(services.settings.cgroups)
        async with open_doors(services) as doors:
            await RunHost(services, workshop, doors, cgroups=cgroups).run(stop, stop.again)

    return run
