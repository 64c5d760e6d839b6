"""One build, from its claim to its end, in the process that was forked for it."""

import asyncio
from contextlib import suppress

import structlog
from msgspec.structs import replace

from adapters.settings import Settings
from adapters.tracing import fail
from adapters.wiring import Services, open_services
from domain import agents
from domain.agents import AGENT
from domain.builds import (
    AGAIN,
    BUILD,
    BuildCancelRequested,
    BuildEnded,
    BuildPlanned,
    BuildRequested,
    PlanBuild,
)
from domain.deploying import end_build
from domain.entries import BuildLogged
from domain.errors import Conflict, NotFound, Unavailable
from domain.execution import Definition
from domain.handling import Unit
from domain.ids import split_stream, stream_name
from workers.attempts import attempted
from workers.builder.builder import run_build
from workers.builder.tools import BuildTools
from workers.claims import Claim, claim_build
from workers.envelopes import new_owner
from workers.heartbeats import Heartbeats
from workers.histories import History, read_history
from workers.losing import Loss, lose
from workers.outages import surely
from workers.sandboxes.namespaces import Paths
from workers.stopping import Stop, stop_on_signals
from workers.transcripts import Transcript
from workers.workshops import open_tools

GATHER_SECONDS = 0.5  # every append wakes all followers, and next to none is a cancellation

log = structlog.stdlib.get_logger(__name__)


async def build(settings: Settings, paths: Paths, stream: str) -> None:
    """Do a build if it is still to be done; raises only for a bug.

    SIGTERM gives it `settings.drain_seconds` to end, then hands it back; a second does at once.
    """
    try:
        async with open_services(settings, name="build") as services:
            tools = open_tools(settings, services.blobs, paths)
            await build_with(services, tools, stream)
            await tools.layers.trim()  # there may be no run host on this machine
    except Unavailable as error:  # it was not claimed: the reaper tells of it again
        log.warning("build.put_off", stream=stream, error=error.detail)


async def build_with(services: Services, tools: BuildTools, stream: str) -> None:
    """As `build`, with parts that are open already."""
    stop = stop_on_signals()
    _, id = split_stream(stream)
    owner = new_owner("build")
    claim = await claim_build(services, id, owner)
    if claim is None:
        return
    with attempted(claim, "build", {}) as span:
        log.info("build.claimed")
        work = asyncio.create_task(_Build(services, tools, claim).run())
        beating = asyncio.create_task(_beat(services, claim, work))
        draining = asyncio.create_task(_drain(stop, work, services.settings.drain_seconds))
        try:
            end = await work
            span.set_attribute("argosy.build.how", end.how)
            if end.how == "failed":
                fail(span, end.step or end.how)
        except asyncio.CancelledError:
            await _give_up(services, claim, f"The worker {owner} was stopped.")
        except Unavailable as error:
            await _give_up(services, claim, error.detail)
        except (Conflict, NotFound) as refusal:
            log.warning("build.overtaken", why=refusal.detail)
        except Exception as error:
            await _give_up(services, claim, f"Argosy could not build it: {type(error).__name__}.")
            raise
        finally:
            for task in (beating, draining):
                task.cancel()
            await asyncio.gather(beating, draining, return_exceptions=True)


class _Build:
    """One attempt. A cancellation that somebody asks for ends it in order."""

    def __init__(self, services: Services, tools: BuildTools, claim: Claim[BuildRequested]) -> None:
        self._services = services
        self._tools = tools
        self._claim = claim
        self._cancelled: str | None = None  # why, once it was asked for

    async def run(self) -> BuildEnded:
        claim, store = self._claim, self._services.store
        definition = await self._definition()
        history = await read_history(store, claim.stream) if claim.attempt > 1 else History()
        async with Transcript(
            store, claim.stream, attempt=claim.attempt, history=history, meta=claim.meta
        ) as transcript:

            async def hear(entry: BuildLogged) -> None:
                transcript.add([entry])
                await transcript.room()

            work = run_build(
                claim.request,
                definition,
                attempt=claim.attempt,
                tools=self._tools,
                log=hear,
                planned=self._plan,
            )
            end = await self._unless_cancelled(asyncio.create_task(work))
            await transcript.flush()
            frontier = transcript.frontier
        end = replace(end, entries=frontier.count, entries_root=frontier.root())
        await self._end(end)
        return end

    async def _unless_cancelled(self, work: asyncio.Task[BuildEnded]) -> BuildEnded:
        hearing = asyncio.create_task(self._hear_cancellation(work))
        try:
            return await work
        except asyncio.CancelledError:
            if self._cancelled is None:
                raise
            return BuildEnded(
                build_id=self._claim.id,
                how="cancelled",
                attempt=self._claim.attempt,
                detail=self._cancelled,
                hint=AGAIN,
            )
        finally:
            for task in (work, hearing):
                task.cancel()
            await asyncio.gather(work, hearing, return_exceptions=True)

    async def _hear_cancellation(self, work: asyncio.Task[BuildEnded]) -> None:
        """Cancel the work once the log says that somebody asked for its end."""
        claim, store = self._claim, self._services.store
        after = claim.head.events[-1].position or 0
        types = [BuildCancelRequested.tag()]
        while True:
            try:
                async for batch in store.follow(after=after, types=types, gather=GATHER_SECONDS):
                    for recorded in batch:
                        after = recorded.position or after
                        if recorded.stream == claim.stream:
                            self._cancelled = recorded.event.detail
                            work.cancel()
                            return
            except Unavailable as error:
                log.warning("cancellations.not_heard", error=error.detail)
                await asyncio.sleep(1.0)

    async def _definition(self) -> Definition:
        request = self._claim.request
        head = await self._services.store.load(stream_name("agent", request.agent_id))
        match AGENT.fold(recorded.event for recorded in head.events):
            case agents.Active() as active:
                return active.versions[request.version].definition
            case agents.Archived(last=last):
                return last.versions[request.version].definition
            case agents.Absent():
                raise NotFound(f"There is no agent {request.agent_id}.")

    async def _plan(self, plan: BuildPlanned) -> None:
        claim, commands = self._claim, self._services.commands
        command, attempt = PlanBuild(plan=plan), self._claim.attempt

        async def send() -> None:
            await commands.send(BUILD, claim.id, command, claim.meta(), attempt=attempt)

        await surely(send)

    async def _end(self, end: BuildEnded) -> None:
        claim, commands = self._claim, self._services.commands

        async def work(unit: Unit) -> None:
            await end_build(unit, end)

        async def send() -> None:
            await commands.run(work, claim.meta(), key=claim.stream)

        await surely(send)
        log.info("build.ended", how=end.how, step=end.step, detail=end.detail)


async def _beat(
    services: Services, claim: Claim[BuildRequested], work: asyncio.Task[BuildEnded]
) -> None:
    """Keep the build's lease; cancel the build when it is lost."""

    def lost(_: str) -> None:
        work.cancel()

    def stray(_: str) -> None:
        """Nobody else in this process can have a lease."""

    seconds = services.settings.lease_seconds
    heartbeats = Heartbeats(services.leases, claim.owner, seconds, lost=lost, stray=stray)
    heartbeats.hold(claim.stream, claim.held_until)
    await heartbeats.run()


async def _drain(stop: Stop, work: asyncio.Task[BuildEnded], seconds: float) -> None:
    """Cancel the build when it has not ended in time after a stop was asked for."""
    await stop.wait()
    log.info("build.draining", seconds=seconds)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.again.wait()
    work.cancel()


async def _give_up(services: Services, claim: Claim[BuildRequested], detail: str) -> None:
    """Let another worker build it. If that cannot be said now, the lease runs out soon."""
    loss = Loss(stream=claim.stream, attempt=claim.attempt, said_by=claim.owner, detail=detail)
    try:
        await lose(services, loss)
    except Unavailable as error:
        log.warning("build.not_given_up", error=error.detail)
