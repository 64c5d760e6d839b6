"""Deploying: the one append that makes or updates tools, an agent, a version and a deployment."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from domain import agents, builds, catalog, deployments
from domain.agents import AGENT
from domain.builds import BUILD
from domain.catalog import TOOL, Tool
from domain.deployments import DEPLOYMENT, Settings
from domain.errors import NotFound
from domain.execution import Base, Decision, Definition, decide_mode, instant_artifact
from domain.handling import Unit
from domain.ports import DropLease

AGENT_NAMES = "agent"
DEPLOYMENT_NAMES = "deployment"
TOOL_NAMES = "tool"


class Deploy(Struct, frozen=True, kw_only=True):
    """What a caller asks for. `tools` by name; they are made if they do not exist."""

    workspace_id: str
    name: str
    definition: Definition
    settings: Settings
    tools: Mapping[str, Tool] = {}


class Deployed(Struct, frozen=True, kw_only=True):
    """What it led to. `build_id` is empty when nothing has to be built."""

    agent_id: str
    agent_created: bool
    deployment_id: str
    version: int
    revision: int
    decision: Decision
    build_id: str
    tools_created: list[str]


async def deploy(unit: Unit, wanted: Deploy, base: Base, new_id: Callable[[], str]) -> Deployed:
    """Decide the whole deploy in one unit.

    The same name updates in place; what is the same as before is not made again: an unchanged
    definition keeps its version, unchanged settings keep the revision.
    """
    tools_created = [
        name for name, tool in wanted.tools.items() if await _tool(unit, wanted, name, tool, new_id)
    ]
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
        tools_created=tools_created,
    )


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


async def _tool(
    unit: Unit, wanted: Deploy, name: str, tool: Tool, new_id: Callable[[], str]
) -> bool:
    known = await unit.resolve(wanted.workspace_id, TOOL_NAMES, name)
    id = known or new_id()
    apply = catalog.ApplyDocument(document_id=id, scope=wanted.workspace_id, name=name, spec=tool)
    await unit.decide(TOOL, id, apply)
    if known is None:
        unit.reserve(wanted.workspace_id, TOOL_NAMES, name, id)
    return known is None


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
    if latest and latest.definition == wanted.definition and latest.status == "ready":
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
