"""GET and DELETE /api/agents."""

from typing import Any

from litestar import Request, Response, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api import agents
from api.calls import Call
from api.deployments import status_of
from api.dialects.runagents.namespaces import place_of
from api.folding import fold, missing
from api.paging import caught_up
from api.tenancy import Place
from domain.agents import AGENT, Active
from domain.deploying import AGENT_NAMES, DEPLOYMENT_NAMES
from domain.deployments import DEPLOYMENT
from domain.deployments import Active as ActiveDeployment
from domain.execution import ImageDefinition
from domain.handling import Unit
from domain.images import image_name
from domain.requesting import missing_tools, tools_missing
from projections import agents as read_model

PHASES = {"ready": "Running", "failed": "Failed"}
PAGE = 200


# Any: the dialect's objects leave out what they do not have, which a struct would have to say.
@get("/agents", opt={"needs": "read"})
async def list_agents(
    request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> list[dict[str, Any]]:
    """List all agents of the workspace, as a bare array."""
    place = await place_of(call, request)
    await caught_up(call, "agents")
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = await read_model.list_agents(call.shared.reads, place.id, cursor=cursor, limit=PAGE)
        for row in page.items:
            shown = await _shown(call, place, row.id)
            if shown:
                found.append(shown)
        cursor = page.next_cursor
        if cursor is None:
            return found


@get("/agents/{namespace:str}/{name:str}", opt={"needs": "read"})
async def show_agent(
    namespace: FromPath[str], name: FromPath[str], call: NamedDependency[Call]
) -> dict[str, Any]:
    """Show one agent. The path says which workspace; the header need not agree."""
    place = await call.workspace(namespace)
    shown = await _shown(call, place, await call.named(place, AGENT_NAMES, name))
    if shown is None:
        raise missing("agent", name)
    return shown


@delete("/agents/{namespace:str}/{name:str}", status_code=200, opt={"needs": "write"})
async def delete_agent(
    namespace: FromPath[str], name: FromPath[str], call: NamedDependency[Call]
) -> Response[dict[str, str]]:
    """Delete an agent and its deployment."""
    place = await call.workspace(namespace)
    await agents.delete_named(call, place.id, name)
    return Response({"status": "deleted"})


async def _shown(call: Call, place: Place, agent_id: str) -> dict[str, Any] | None:
    """Return an agent in the original's shape; what it does not have is left out, never null."""
    found = await fold(call.store, AGENT, agent_id)
    agent = found.state
    if not isinstance(agent, Active):
        return None
    spec: dict[str, Any] = {}
    version = agent.versions.get(agent.latest)
    if version and isinstance(version.definition, ImageDefinition):
        spec["image"] = version.definition.image
    elif version and (built := call.image_uri(place.slug, agent.name, image_name(version))):
        spec["image"] = built
    id = await call.store.resolve(place.id, DEPLOYMENT_NAMES, agent.name)
    deployment = (await fold(call.store, DEPLOYMENT, id)).state if id else None
    status = {"phase": "Pending", "message": ""}
    if isinstance(deployment, ActiveDeployment) and deployment.revisions:
        status = await _status(call, place, deployment)
        settings = deployment.revisions[deployment.latest].settings
        spec["requiredTools"] = settings.required_tools
        spec["systemPrompt"] = settings.system_prompt
        spec["policies"] = settings.policies
    return {
        "name": agent.name,
        "namespace": place.slug,
        "metadata": {
            "name": agent.name,
            "namespace": place.slug,
            "uid": agent_id,
            "creationTimestamp": found.created_at,
        },
        "spec": spec,
        "status": status,
        "created_at": found.created_at,
    }


async def _status(call: Call, place: Place, deployment: ActiveDeployment) -> dict[str, str]:
    """Return where the agent stands: one whose tools do not all exist is pending, too."""
    phase = PHASES.get(status_of(deployment), "Pending")
    revision = deployment.revisions[deployment.serving or deployment.latest]
    missing = await missing_tools(Unit(call.store), place.id, revision.settings)
    if phase == "Running" and missing:
        return {"phase": "Pending", "message": tools_missing(missing)}
    return {"phase": phase, "message": revision.detail}
