"""Deploying: the one append that makes or updates tools, an agent, a version and a deployment."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from domain import agents, builds, deployments
from domain.addresses import check_address
from domain.agents import AGENT
from domain.builds import BUILD
from domain.catalog import Tool
from domain.deployments import DEPLOYMENT, Settings
from domain.documents import POLICIES, TOOLS, Applied, apply_document
from domain.drafts import DRAFT, CompleteDraft
from domain.errors import Invalid, NotFound
from domain.execution import (
    Base,
    Decision,
    Definition,
    ImageDefinition,
    decide_mode,
    instant_artifact,
)
from domain.handling import Unit
from domain.images import ImageName, image_name
from domain.ports import DropLease
from domain.tools import BasicTool, declared

AGENT_NAMES = "agent"
DEPLOYMENT_NAMES = "deployment"


class Deploy(Struct, frozen=True, kw_only=True):
    """What a caller asks for. `tools` by name; they are made if they do not exist.

    binds, maps: policies and rewritten URLs that are named now, and must make sense; those that
    `settings` keeps from before need not.
    completes: the draft that this deploys, at the version at which it was read.
    """

    workspace_id: str
    name: str
    definition: Definition
    settings: Settings
    tools: Mapping[str, BasicTool] = {}
    binds: Sequence[str] = ()
    maps: Mapping[str, str] = {}
    completes: CompleteDraft | None = None


class Deployed(Struct, frozen=True, kw_only=True):
    """What it led to. `build_id` is empty when nothing has to be built.

    credentials_dropped: references of secrets that its tools do not name any more.
    image: how the version's image is named.
    """

    agent_id: str
    agent_created: bool
    deployment_id: str
    version: int
    revision: int
    decision: Decision
    build_id: str
    tools_created: list[str]
    credentials_dropped: list[str] = []
    image: ImageName = ImageName()


async def deploy(unit: Unit, wanted: Deploy, base: Base, new_id: Callable[[], str]) -> Deployed:
    """Decide the whole deploy in one unit.

    The same name updates in place; what is the same as before is not made again: an unchanged
    definition keeps its version, unchanged settings keep the revision.
    """
    if wanted.completes:
        await unit.decide(DRAFT, wanted.completes.draft_id, wanted.completes)
    applied = await _tools(unit, wanted, new_id)
    await _check_names(unit, wanted)
    decision = decide_mode(wanted.definition, base)
    agent_id, agent_created = await _agent(unit, wanted, new_id)
    version, build_id = await _version(unit, wanted, base, agent_id, new_id)
    deployment_id = await _deployment(unit, wanted, agent_id, new_id)
    revision = await _revision(unit, wanted, deployment_id, version, build_id)
    if build_id and isinstance(await unit.state(BUILD, build_id), builds.Absent):
        await unit.decide(
            BUILD,
            build_id,
            builds.RequestBuild(
                request=builds.BuildRequested(
                    build_id=build_id,
                    workspace_id=wanted.workspace_id,
                    agent_id=agent_id,
                    agent_name=wanted.name,
                    version=version,
                    deployment_id=deployment_id,
                    revision=revision,
                    mode=decision.mode,
                )
            ),
        )
    return Deployed(
        agent_id=agent_id,
        agent_created=agent_created,
        deployment_id=deployment_id,
        version=version,
        revision=revision,
        decision=decision,
        build_id=build_id,
        tools_created=[name for name, tool in applied.items() if tool.before is None],
        credentials_dropped=[tool.dropped for tool in applied.values() if tool.dropped],
        image=await _image_name(unit, agent_id, version),
    )


async def _image_name(unit: Unit, agent_id: str, version: int) -> ImageName:
    agent = await unit.state(AGENT, agent_id)
    assert isinstance(agent, agents.Active)
    return image_name(agent.versions[version])


async def end_build(unit: Unit, end: builds.BuildEnded) -> None:
    """Decide how a build ended, and with it its version and all revisions that waited for it.

    An agent or deployment that was deleted meanwhile stays deleted.
    """
    command = builds.EndBuild(end=end)
    drop = DropLease()
    await unit.decide(BUILD, end.build_id, command, attempt=end.attempt, lease=drop)
    await _judge(unit, end)


async def lose_build(unit: Unit, lose: builds.LoseBuild) -> None:
    """Decide that a build's worker is gone: it is retried, or it ends as in `end_build`."""
    fence, drop = lose.attempt + 1, DropLease()
    for event in await unit.decide(BUILD, lose.build_id, lose, fence=fence, lease=drop):
        if isinstance(event, builds.BuildEnded):
            await _judge(unit, event)


async def cancel_build(unit: Unit, build_id: str, detail: str) -> None:
    """Ask for a build's end; one that nobody has taken ends at once, as in `end_build`."""
    cancel = builds.CancelBuild(build_id=build_id, detail=detail)
    for event in await unit.decide(BUILD, build_id, cancel):
        if isinstance(event, builds.BuildEnded):
            await _judge(unit, event)


async def _judge(unit: Unit, end: builds.BuildEnded) -> None:
    build = await unit.state(BUILD, end.build_id)
    assert not isinstance(build, builds.Absent)
    request = build.request
    detail = f"{end.step}: {end.detail}" if end.step else end.detail
    agent = await unit.state(AGENT, request.agent_id)
    if isinstance(agent, agents.Active) and agent.versions[request.version].status == "draft":
        await unit.decide(AGENT, request.agent_id, _judge_version(request, end, detail))
    deployment = await unit.state(DEPLOYMENT, request.deployment_id)
    if not isinstance(deployment, deployments.Active):
        return
    for number, revision in deployment.revisions.items():
        if revision.build_id == end.build_id and revision.status == "pending":
            judge = _judge_revision(request.deployment_id, number, end, detail)
            await unit.decide(DEPLOYMENT, request.deployment_id, judge)


def _judge_version(
    request: builds.BuildRequested, end: builds.BuildEnded, detail: str
) -> agents.AgentCommand:
    id, number = request.agent_id, request.version
    if end.how == "succeeded":
        return agents.ReadyAgentVersion(agent_id=id, version=number, artifact=end.artifact)
    return agents.FailAgentVersion(agent_id=id, version=number, detail=detail)


def _judge_revision(
    deployment_id: str, number: int, end: builds.BuildEnded, detail: str
) -> deployments.DeploymentCommand:
    if end.how == "succeeded":
        return deployments.ReadyRevision(deployment_id=deployment_id, revision=number)
    return deployments.FailRevision(deployment_id=deployment_id, revision=number, detail=detail)


async def delete_agent(unit: Unit, workspace_id: str, name: str) -> None:
    """Archive an agent and its deployment, and give their names back. Raises NotFound."""
    agent_id = await unit.resolve(workspace_id, AGENT_NAMES, name)
    if agent_id is None:
        raise NotFound(f"There is no agent {name!r} in this workspace.")
    await unit.decide(AGENT, agent_id, agents.ArchiveAgent(agent_id=agent_id))
    unit.reserve(workspace_id, AGENT_NAMES, name, "")
    deployment_id = await unit.resolve(workspace_id, DEPLOYMENT_NAMES, name)
    if deployment_id is not None:
        archive = deployments.ArchiveDeployment(deployment_id=deployment_id)
        await unit.decide(DEPLOYMENT, deployment_id, archive)
        unit.reserve(workspace_id, DEPLOYMENT_NAMES, name, "")


async def _tools(
    unit: Unit, wanted: Deploy, new_id: Callable[[], str]
) -> Mapping[str, Applied[Tool]]:
    """Declare the tools that come with the deploy, by name."""
    applied: dict[str, Applied[Tool]] = {}
    for number, (name, basic) in enumerate(wanted.tools.items()):
        place = f"tools_to_create[{number}]"

        def spec_of(current: Tool | None, basic: BasicTool = basic, place: str = place) -> Tool:
            # A deploy has no credentials; what may be wrong is where those there are would go.
            fields = {"credential": "base_url"}
            return declared(
                basic.over(current), current, lambda field: f"{place}.{fields.get(field, field)}"
            )

        applied[name] = await apply_document(
            unit, TOOLS, wanted.workspace_id, name, spec_of, new_id=new_id
        )
    return applied


async def _check_names(unit: Unit, wanted: Deploy) -> None:
    """Refuse what names a policy that is not there, or rewrites URLs to an unknown tool.

    A required tool may be missing: the deployment then waits for it (`requesting.py`).
    """
    for number, name in enumerate(wanted.binds):
        if await resolve_name(unit, wanted.workspace_id, POLICIES.name, name) is None:
            raise Invalid(
                f"There is no policy {name[:100]!r} in this workspace: make it first.",
                field=f"policies[{number}]",
            )
    for url, name in wanted.maps.items():
        field = f"tool_url_mappings.{url[:200]}"
        check_address(url, field=field)
        known = name in wanted.settings.required_tools
        if not known and await resolve_name(unit, wanted.workspace_id, TOOLS.name, name) is None:
            raise Invalid(
                f"There is no tool {name[:100]!r}: make it first, or add it to required_tools.",
                field=field,
            )


async def resolve_name(unit: Unit, workspace_id: str, kind: str, name: str) -> str | None:
    """Return the id that a name stands for, None also for what no name can be."""
    possible = name.isascii() and name.isprintable()
    return await unit.resolve(workspace_id, kind, name) if possible else None


async def _agent(unit: Unit, wanted: Deploy, new_id: Callable[[], str]) -> tuple[str, bool]:
    known = await unit.resolve(wanted.workspace_id, AGENT_NAMES, wanted.name)
    if known is not None:
        return known, False
    id = new_id()
    create = agents.CreateAgent(agent_id=id, workspace_id=wanted.workspace_id, name=wanted.name)
    await unit.decide(AGENT, id, create)
    unit.reserve(wanted.workspace_id, AGENT_NAMES, wanted.name, id)
    return id, True


async def _version(
    unit: Unit, wanted: Deploy, base: Base, agent_id: str, new_id: Callable[[], str]
) -> tuple[int, str]:
    """Return the version to deploy, and the id of the build it waits for or of one to request."""
    agent = await unit.state(AGENT, agent_id)
    assert isinstance(agent, agents.Active)
    latest = agent.versions.get(agent.latest)
    if (
        latest
        and latest.definition == wanted.definition
        and latest.status == "ready"
        and not _may_have_moved(wanted.definition)
    ):
        return agent.latest, ""
    if latest and latest.definition == wanted.definition and latest.status == "draft":
        pending = await _pending_build(unit, wanted, agent.latest)
        if pending:
            return agent.latest, pending
    decision = decide_mode(wanted.definition, base)
    draft = agents.DraftAgentVersion(
        agent_id=agent_id,
        definition=wanted.definition,
        mode=decision.mode,
        reason=decision.reason,
    )
    await unit.decide(AGENT, agent_id, draft)
    number = agent.latest + 1
    if decision.mode == "INSTANT_RUNTIME":
        artifact = instant_artifact(wanted.definition, base)
        ready = agents.ReadyAgentVersion(agent_id=agent_id, version=number, artifact=artifact)
        await unit.decide(AGENT, agent_id, ready)
        return number, ""
    return number, new_id()


def _may_have_moved(definition: Definition) -> bool:
    """Whether the same words may mean something else now: a tag does, a digest does not."""
    return isinstance(definition, ImageDefinition) and "@" not in definition.image


async def _pending_build(unit: Unit, wanted: Deploy, version: int) -> str:
    """Return the build that an earlier deploy of the same version asked for."""
    known = await unit.resolve(wanted.workspace_id, DEPLOYMENT_NAMES, wanted.name)
    if known is None:
        return ""
    deployment = await unit.state(DEPLOYMENT, known)
    if not isinstance(deployment, deployments.Active):
        return ""
    for revision in deployment.revisions.values():
        if revision.agent_version == version and revision.status == "pending":
            return revision.build_id
    return ""


async def _deployment(unit: Unit, wanted: Deploy, agent_id: str, new_id: Callable[[], str]) -> str:
    known = await unit.resolve(wanted.workspace_id, DEPLOYMENT_NAMES, wanted.name)
    if known is not None:
        return known
    id = new_id()
    create = deployments.CreateDeployment(
        deployment_id=id,
        workspace_id=wanted.workspace_id,
        slug=wanted.name,
        agent_id=agent_id,
        agent_name=wanted.name,
    )
    await unit.decide(DEPLOYMENT, id, create)
    unit.reserve(wanted.workspace_id, DEPLOYMENT_NAMES, wanted.name, id)
    return id


async def _revision(
    unit: Unit, wanted: Deploy, deployment_id: str, version: int, build_id: str
) -> int:
    deployment = await unit.state(DEPLOYMENT, deployment_id)
    assert isinstance(deployment, deployments.Active)
    latest = deployment.revisions.get(deployment.latest)
    if (
        latest
        and latest.agent_version == version
        and latest.settings == wanted.settings
        and latest.status != "failed"
    ):
        return deployment.latest
    make = deployments.MakeRevision(
        deployment_id=deployment_id,
        agent_version=version,
        settings=wanted.settings,
        build_id=build_id,
    )
    await unit.decide(DEPLOYMENT, deployment_id, make)
    return deployment.latest + 1
