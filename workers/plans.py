"""From a claimed run to what is started for it: its revision, its layers, its program."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from adapters.bases import PLAIN
from adapters.wiring import Services
from domain import agents, builds, deployments
from domain.agents import AGENT
from domain.builds import BUILD
from domain.catalog import Tool
from domain.deployments import DEPLOYMENT
from domain.errors import NotFound
from domain.execution import (
    ConfigurationDefinition,
    ImageDefinition,
    SourceDefinition,
)
from domain.ids import stream_name
from domain.limits import Limits
from domain.runs import Reason, RunRequested
from workers.claims import Claim
from workers.gateway.documents import StoredDocuments
from workers.gateway.environment import agent_environment
from workers.harnesses.harness import Harness, Launch, Task
from workers.harnesses.harnesses import find_harness
from workers.harnesses.tasks import BASE, DEPENDENCIES, RUNTIME
from workers.images.running import UnpackedImage, find_image
from workers.layers import LayerCache
from workers.pool import SOURCE, Pool
from workers.sandboxes.bases import Base
from workers.sandboxes.driver import Mount, Scope, Spec


class Stage(Struct, frozen=True, kw_only=True):
    """One Python that agents run on. `runtime`: directory of our own harnesses' layer for it."""

    base: Base
    runtime: str


class Workshop(Struct, frozen=True, kw_only=True):
    """What this machine runs agents with.

    stages: by the names of the base environments that are on that Python. PLAIN is always there.
    """

    pool: Pool
    layers: LayerCache
    stages: Mapping[str, Stage]
    scope: Scope

    @property
    def plain(self) -> Stage:
        """The one for agents that name no version of Python."""
        return self.stages[PLAIN]


class Plan(Struct, frozen=True, kw_only=True):
    """One run, ready to be opened and started.

    spec: of its sandbox, without what is the run's own: gateway, environment and source.
    layer: the directory of the source, None for an agent without code.
    source: digests of the source's files.
    left_out: names of variables that are too large to be passed.
    """

    task: Task
    harness: Harness
    launch: Launch
    spec: Spec
    layer: Path | None
    settings: deployments.Settings
    source: Mapping[str, str]
    left_out: Sequence[str]

    @property
    def limits(self) -> Limits:
        """What the run may use."""
        return self.settings.limits


class CannotRun(Struct, frozen=True, kw_only=True):
    """Why the run ends before anything is started for it."""

    reason: Reason
    detail: str


async def plan_run(
    services: Services, workshop: Workshop, claim: Claim[RunRequested]
) -> Plan | CannotRun:
    """Return what to start. Raises Unavailable where the disk or the database fails."""
    request = claim.request
    failed = await _failed_build(services, request)
    if failed is not None:
        return failed
    revision = await _revision(services, request)
    version = await _version(services, request, revision.agent_version)
    match version.definition:
        case SourceDefinition(files=files, entry_point=entry_point):
            harness = find_harness("source")
            if version.artifact is None:
                return CannotRun(reason="build_failed", detail=version.detail or "It is not built.")
            if not version.artifact.base:
                harness, files, entry_point = find_harness("image"), {}, ""
        case ConfigurationDefinition():  # its files are not run, and nothing there could read them
            harness, files, entry_point = find_harness("native"), {}, ""
        case ImageDefinition():
            harness, files, entry_point = find_harness("image"), {}, ""
            if version.artifact is None or version.artifact.image is None:
                return CannotRun(reason="build_failed", detail=version.detail or "It is not built.")
    base = (version.artifact.base if version.artifact else "") or PLAIN
    stage = workshop.stages.get(base)
    if stage is None:
        return CannotRun(reason="sandbox_unavailable", detail=_no_stage(base, workshop))
    dependencies = version.artifact.dependencies if version.artifact else ""
    base_packages = version.artifact.base_packages if version.artifact else ""
    try:
        layer = await workshop.layers.source(files) if files else None
        image = await _image(workshop, stage, version)
        mounts = await _mounts(workshop, stage, {DEPENDENCIES: dependencies, BASE: base_packages})
    except NotFound as missing:
        return CannotRun(
            reason="sandbox_unavailable",
            detail=f"A part of the agent is missing from the blob store: {missing.detail}",
        )
    settings = revision.settings
    tools = await _tools(services, request, settings)
    environment, left_out = agent_environment(settings, tools)
    task = Task(
        run_id=request.run_id,
        agent_name=request.agent_name,
        message=request.message,
        history=request.history,
        context=request.context,
        user_id=request.user_id,
        conversation_id=request.conversation_id,
        attempt=claim.attempt,
        entry_point=entry_point,
        system_prompt=settings.system_prompt,
        environment=environment,
        python=stage.base.python,
        source_target=SOURCE,
        runtime_target=RUNTIME,
        dependencies_target=DEPENDENCIES if dependencies else "",
        base_target=BASE if base_packages else "",
        seconds=settings.limits.seconds,
    )
    if image is not None:
        task = image.told(task)
    launch = harness.launch(task)
    spec = _spec(workshop, stage, mounts, launch, settings.limits)
    return Plan(
        task=task,
        harness=harness,
        launch=launch,
        spec=spec if image is None else image.shown(spec, stage.runtime),
        layer=layer,
        settings=settings,
        source=files,
        left_out=left_out,
    )


async def _image(workshop: Workshop, stage: Stage, version: agents.Version) -> UnpackedImage | None:
    """Return the image that is all there is, ready on this machine; None if there is a base."""
    image = version.artifact.image if version.artifact else None
    if version.artifact is None or image is None or version.artifact.base:
        return None
    path = await workshop.layers.image(image)
    return await asyncio.to_thread(find_image, path, stage.base)


async def _failed_build(services: Services, request: RunRequested) -> CannotRun | None:
    if not request.waits_for:
        return None
    head = await services.store.load(stream_name("build", request.waits_for))
    match BUILD.fold(recorded.event for recorded in head.events):
        case builds.Ended(end=end) if end.how != "succeeded":
            detail = f"{end.step}: {end.detail}" if end.step else end.detail
            return CannotRun(reason="build_failed", detail=detail or f"The build {end.how}.")
        case _:
            return None


async def _revision(services: Services, request: RunRequested) -> deployments.Revision:
    head = await services.store.load(stream_name("deployment", request.deployment_id))
    match DEPLOYMENT.fold(recorded.event for recorded in head.events):
        case deployments.Active() as active:
            return active.revisions[request.revision]
        case deployments.Archived(last=last):  # runs in flight go on
            return last.revisions[request.revision]
        case deployments.Absent():
            raise NotFound(f"There is no deployment {request.deployment_id}.")


async def _version(services: Services, request: RunRequested, number: int) -> agents.Version:
    head = await services.store.load(stream_name("agent", request.agent_id))
    match AGENT.fold(recorded.event for recorded in head.events):
        case agents.Active() as active:
            return active.versions[number]
        case agents.Archived(last=last):
            return last.versions[number]
        case agents.Absent():
            raise NotFound(f"There is no agent {request.agent_id}.")


async def _tools(
    services: Services, request: RunRequested, settings: deployments.Settings
) -> dict[str, Tool]:
    documents = StoredDocuments(services.store, request.workspace_id)
    names = settings.required_tools
    found = await asyncio.gather(*(documents.tool(name) for name in names))
    return {name: tool for name, tool in zip(names, found, strict=True) if tool is not None}


def expect_plain_runs(workshop: Workshop) -> None:
    """Have sandboxes ready for source that needs nothing but the base, under the usual limits."""
    stage = workshop.plain
    environment, _ = agent_environment(deployments.Settings(), {})
    task = Task(
        run_id="",
        message="",
        entry_point="agent.py",
        environment=environment,
        python=stage.base.python,
        source_target=SOURCE,
        runtime_target=RUNTIME,
    )
    launch = find_harness("source").launch(task)
    mounts = (Mount(stage.runtime, RUNTIME),)
    workshop.pool.expect(_spec(workshop, stage, mounts, launch, Limits()), launch)


def _no_stage(base: str, workshop: Workshop) -> str:
    versions = dict.fromkeys(stage.base.version for stage in workshop.stages.values())
    there = ", ".join(f"Python {version}" for version in versions)
    return f"It is to run over {base}, which this machine cannot offer; there is {there}."


async def _mounts(
    workshop: Workshop, stage: Stage, packages: Mapping[str, str]
) -> tuple[Mount, ...]:
    """Mount our own layer, and those of packages: digests by place, empty for none."""
    mounts = [Mount(stage.runtime, RUNTIME)]
    for target, digest in packages.items():
        if digest:
            mounts.append(Mount(str(await workshop.layers.dependencies(digest)), target))
    return tuple(mounts)


def _spec(
    workshop: Workshop, stage: Stage, mounts: tuple[Mount, ...], launch: Launch, limits: Limits
) -> Spec:
    base = stage.base
    return Spec(
        layers=(*base.layers, *mounts),
        symlinks=base.symlinks,
        hidden=base.hidden,
        files=base.files,
        working_directory=launch.working_directory,
        limits=limits,
        scope=workshop.scope,
        channel=launch.uses_channel,
    )
