"""Agents: list, show with all versions, delete."""

from typing import Any

import msgspec
from litestar import Controller, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from api.calls import Call
from api.folding import Folded, fold, missing
from api.paging import Cursor, Limit, Listed, listed
from api.times import stamp
from domain import agents
from domain.agents import AGENT
from domain.deploying import AGENT_NAMES, delete_agent
from domain.handling import Unit
from domain.images import image_name
from projections.agents import AgentRow, list_agents


class AgentVersion(Struct, frozen=True, kw_only=True):
    """One version. status: `draft`, `ready` or `failed` (`detail` says why).

    reason: why `mode` was chosen. definition: with files by digest; empty in lists.
    image_uri: the version as a container image, once it is ready; null if there is none, in lists.
    """

    version: int
    status: str
    mode: str
    reason: str
    detail: str
    definition: dict[str, Any]
    image_uri: str | None = None


class Agent(Struct, frozen=True, kw_only=True):
    """An agent. status: `active` or `archived`. Lists show the newest version only."""

    id: str
    name: str
    workspace_id: str
    status: str
    latest_version: int | None
    versions: list[AgentVersion]
    created_at: str
    updated_at: str


class Agents(Controller):
    """`/v1/workspaces/{workspace}/agents`."""

    path = "/workspaces/{workspace:str}/agents"
    tags = ["Agents"]

    @get(operation_id="ListAgents", opt={"needs": "read"})
    async def index(
        self,
        workspace: FromPath[str],
        call: NamedDependency[Call],
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Listed[Agent]:
        """List a workspace's agents."""
        place = await call.workspace(workspace)
        reads = call.shared.reads

        async def query() -> Any:
            return await list_agents(reads, place.id, cursor=cursor, limit=limit)

        return await listed(call, "agents", query, _row)

    @get("/{name:str}", operation_id="ShowAgent", opt={"needs": "read"})
    async def show(
        self, workspace: FromPath[str], name: FromPath[str], call: NamedDependency[Call]
    ) -> Agent:
        """Show an agent by its name."""
        place = await call.workspace(workspace)
        found = await fold(call.store, AGENT, await call.named(place, AGENT_NAMES, name))
        return shown(found, call, place.slug)

    @delete("/{name:str}", operation_id="DeleteAgent", opt={"needs": "write"})
    async def delete(
        self, workspace: FromPath[str], name: FromPath[str], call: NamedDependency[Call]
    ) -> None:
        """Delete an agent and its deployment. Runs in flight go on; the history stays."""
        place = await call.workspace(workspace)
        await delete_named(call, place.id, name)


class AgentsById(Controller):
    """`/v1/agents/{agent_id}`."""

    path = "/agents/{agent_id:str}"
    tags = ["Agents"]

    @get(operation_id="ShowAgentById", opt={"needs": "read"})
    async def show(self, agent_id: FromPath[str], call: NamedDependency[Call]) -> Agent:
        """Show an agent by its id, also one that was deleted."""
        found, active = await _visible(call, agent_id)
        return shown(found, call, await call.shared.tenancy.slug_of(active.workspace_id))

    @delete(operation_id="DeleteAgentById", opt={"needs": "write"})
    async def delete(self, agent_id: FromPath[str], call: NamedDependency[Call]) -> None:
        """Delete an agent and its deployment. Deleting twice changes nothing."""
        found, active = await _visible(call, agent_id)
        if isinstance(found.state, agents.Active):
            await delete_named(call, active.workspace_id, active.name)


async def delete_named(call: Call, workspace_id: str, name: str) -> None:
    """Delete an agent by name. Raises NotFound."""
    if not (name.isascii() and name.isprintable()):
        raise missing("agent", name)

    async def work(unit: Unit) -> None:
        await delete_agent(unit, workspace_id, name)

    key = f"deploy {workspace_id} {name}"
    await call.services.commands.run(work, call.meta(workspace_id), key=key)


async def _visible(call: Call, agent_id: str) -> tuple[Folded[agents.Agent], agents.Active]:
    found = await fold(call.store, AGENT, agent_id)
    active = last_active(found.state)
    if active is None or not await call.sees(active.workspace_id):
        raise missing("agent", agent_id)
    return found, active


def last_active(state: agents.Agent) -> agents.Active | None:
    """Return an agent as it is, or as it last was."""
    match state:
        case agents.Absent():
            return None
        case agents.Active():
            return state
        case agents.Archived(last=last):
            return last


def shown(found: Folded[agents.Agent], call: Call, workspace: str) -> Agent:
    """Return an agent as clients see it. Raises NotFound."""
    active = last_active(found.state)
    if active is None:
        raise missing("agent", found.id)
    is_active = isinstance(found.state, agents.Active)
    return Agent(
        id=found.id,
        name=active.name,
        workspace_id=active.workspace_id,
        status="active" if is_active else "archived",
        latest_version=active.latest or None,
        versions=[
            AgentVersion(
                version=number,
                status=each.status,
                mode=each.mode,
                reason=each.reason,
                detail=each.detail,
                definition=msgspec.to_builtins(each.definition),
                image_uri=call.image_uri(workspace, active.name, image_name(each)) or None
                if is_active
                else None,
            )
            for number, each in active.versions.items()
        ],
        created_at=found.created_at,
        updated_at=found.updated_at,
    )


def _row(row: AgentRow) -> Agent:
    latest = row.latest
    newest = latest and AgentVersion(
        version=latest.version,
        status=latest.status,
        mode=latest.mode,
        reason=latest.reason,
        detail=latest.detail,
        definition={},
    )
    return Agent(
        id=row.id,
        name=row.name,
        workspace_id=row.workspace_id,
        status=row.status,
        latest_version=newest.version if newest else None,
        versions=[newest] if newest else [],
        created_at=stamp(row.created_at),
        updated_at=stamp(row.updated_at),
    )
