"""The build host: one process per machine that builds, a few at a time, in sandboxes."""

from collections.abc import Awaitable, Callable

import structlog
from msgspec.structs import replace
from prometheus_client import Gauge

from adapters.tracing import fail
from adapters.wiring import Services
from domain import agents, workspaces
from domain.agents import AGENT
from domain.builds import (
    BUILD,
    BuildCancelRequested,
    BuildEnded,
    BuildPlanned,
    BuildRequested,
    PlanBuild,
)
from domain.deploying import end_build
from domain.entries import BuildLogged
from domain.errors import NotFound
from domain.execution import Definition
from domain.handling import Unit
from domain.ids import stream_name
from domain.jobs import BUILDS
from domain.workspaces import WORKSPACE
from workers.attempts import attempted
from workers.builder.builder import run_build
from workers.builder.memory import keep_forgetting
from workers.builder.tools import BuildTools, Slug
from workers.claims import Claim, claim_build
from workers.envelopes import new_owner
from workers.histories import History, read_history
from workers.hosting import Host, Kind
from workers.images.logins import logins_of
from workers.losing import Loss, lose
from workers.outages import surely
from workers.pumps import Cancel
from workers.sandboxes.namespaces import Paths
from workers.stopping import Stop
from workers.sweeping import keep_swept, keep_trimmed
from workers.transcripts import Transcript
from workers.workshops import open_tools

SLOTS = Gauge("argosy_build_slots", "Builds that this host does at most at once.")
HOSTED = Gauge("argosy_builds_hosted", "Builds that this host does now.")

log = structlog.stdlib.get_logger(__name__)


def builds_with(paths: Paths) -> Callable[[Services, Stop], Awaitable[None]]:
    """Return the loop of a build host on a machine that was prepared."""

    async def run(services: Services, stop: Stop) -> None:
        settings = services.settings
        tools = open_tools(settings, services.blobs, paths)
        tools = replace(tools, login=logins_of(services), slug=slugs_of(services))
        kind = Kind(
            name="build",
            queue=BUILDS,
            slots=settings.build_slots,
            cancelled=BuildCancelRequested,
            gather_seconds=0.5,
        )
        SLOTS.set(settings.build_slots)
        host = Host(services, kind, _Builds(services, tools), new_owner("build"), HOSTED)
        swept = keep_swept(services.blobs, tools.layers, tools.driver)
        forgotten = keep_forgetting(tools.layers.directory)
        await host.run(stop, stop.again, [swept, keep_trimmed(tools.layers), forgotten])

    return run


def slugs_of(services: Services) -> Slug:
    """Return how builds find what a workspace is called."""

    async def slug(workspace_id: str) -> str:
        head = await services.store.load(stream_name("workspace", workspace_id))
        match WORKSPACE.fold(recorded.event for recorded in head.events):
            case workspaces.Active(slug=slug) | workspaces.Archived(slug=slug):
                return slug
            case workspaces.Absent():
                raise NotFound(f"There is no workspace {workspace_id}.")

    return slug


class _Builds:
    """Builds as a host's work."""

    def __init__(self, services: Services, tools: BuildTools) -> None:
        self._services = services
        self._tools = tools

    async def claim(self, id: str, owner: str) -> Claim[BuildRequested] | None:
        return await claim_build(self._services, id, owner)

    async def do(
        self, claim: Claim[BuildRequested], cancel: Cancel, settle: Callable[[], None]
    ) -> None:
        with attempted(claim, "build", {}) as span:
            log.info("build.claimed")
            end = await _Build(self._services, self._tools, claim, cancel, settle).run()
            span.set_attribute("argosy.build.how", end.how)
            if end.how == "failed":
                fail(span, end.step or end.how)

    async def broke(self, loss: Loss) -> None:
        await lose(self._services, loss)


class _Build:
    """One attempt. A cancellation that somebody asks for ends it in order."""

    def __init__(
        self,
        services: Services,
        tools: BuildTools,
        claim: Claim[BuildRequested],
        cancel: Cancel,
        settle: Callable[[], None],
    ) -> None:
        self._services = services
        self._tools = tools
        self._claim = claim
        self._cancel = cancel
        self._settle = settle

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

            end = await run_build(
                claim.request,
                definition,
                attempt=claim.attempt,
                tools=self._tools,
                log=hear,
                planned=self._plan,
                cancel=self._cancel,
            )
            await transcript.flush()
            frontier = transcript.frontier
        end = replace(end, entries=frontier.count, entries_root=frontier.root())
        await self._end(end)
        return end

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

        self._settle()
        await surely(send)
        log.info("build.ended", how=end.how, step=end.step, detail=end.detail)
