"""Requesting a run: which deployment, which revision, and whether it has to wait for a build."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from domain import deployments
from domain.deploying import DEPLOYMENT_NAMES, resolve_name
from domain.deployments import DEPLOYMENT, Settings
from domain.documents import TOOLS
from domain.errors import Conflict, NotFound
from domain.handling import Unit
from domain.runs import RUN, RequestRun, RunRequested


class NewRun(Struct, frozen=True, kw_only=True):
    """What a caller asks for; `slug` names the deployment in its workspace."""

    workspace_id: str
    slug: str
    message: str
    history: list[Any] = []
    context: dict[str, Any] = {}
    user_id: str = ""
    conversation_id: str = ""


class DeploymentFailed(Conflict):
    """No revision of it ever became ready. Mend what the detail says and deploy again."""

    type = "deployment-failed"
    title = "The deployment cannot serve"


class ToolsMissing(Conflict):
    """The agent requires tools that do not exist yet; `tools` names them. Make them, and run it."""

    type = "tools-missing"
    title = "The agent waits for its tools"


async def missing_tools(unit: Unit, workspace_id: str, settings: Settings) -> list[str]:
    """Return the names of required tools that do not exist."""
    return [
        name
        for name in settings.required_tools
        if await resolve_name(unit, workspace_id, TOOLS.name, name) is None
    ]


def tools_missing(names: Sequence[str]) -> str:
    """Return what an agent that waits for these tools says."""
    named = ", ".join(name[:100] for name in names)
    return f"It requires tools that do not exist yet: {named}. Make them, and it runs."


async def request_run(unit: Unit, wanted: NewRun, run_id: str) -> RunRequested:
    """Decide a run of what the deployment serves now, or of what it is building.

    Raises NotFound for an unknown slug, DeploymentFailed where nothing can be run, ToolsMissing
    until all required tools exist.
    """
    id = await unit.resolve(wanted.workspace_id, DEPLOYMENT_NAMES, wanted.slug)
    deployment = await unit.state(DEPLOYMENT, id) if id else None
    if id is None or not isinstance(deployment, deployments.Active):
        raise NotFound(f"There is no deployment {wanted.slug!r} in this workspace.")
    number = deployment.serving or deployment.latest
    revision = deployment.revisions[number]
    if revision.status == "failed":
        raise DeploymentFailed(
            f"Revision {number} of {wanted.slug} failed: {revision.detail}",
            deployment=id,
            revision=number,
        )
    missing = await missing_tools(unit, wanted.workspace_id, revision.settings)
    if missing:
        detail = f"{wanted.slug} cannot run. {tools_missing(missing)}"
        raise ToolsMissing(detail, deployment=id, tools=missing)
    request = RunRequested(
        run_id=run_id,
        workspace_id=wanted.workspace_id,
        agent_id=deployment.agent_id,
        agent_name=deployment.agent_name,
        deployment_id=id,
        slug=wanted.slug,
        revision=number,
        message=wanted.message,
        history=wanted.history,
        context=wanted.context,
        user_id=wanted.user_id,
        conversation_id=wanted.conversation_id,
        waits_for=revision.build_id if revision.status == "pending" else "",
        max_attempts=revision.settings.max_attempts,
    )
    await unit.decide(RUN, run_id, RequestRun(request=request))
    return request
