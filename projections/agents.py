"""Agents, as lists show them: each with its newest version."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct

from domain.agents import (
    AgentArchived,
    AgentCreated,
    AgentVersionDrafted,
    AgentVersionFailed,
    AgentVersionReady,
    VersionStatus,
)
from domain.decider import Recorded
from domain.execution import Mode
from projections.projection import (
    Insert,
    Projection,
    Statement,
    Update,
    cut,
    moment,
    number,
    read_model,
    text,
)
from projections.reads import Page, ReadModels


class LatestVersion(Struct, frozen=True, kw_only=True):
    """An agent's newest version, without its definition."""

    version: int
    status: VersionStatus
    mode: Mode
    reason: str
    detail: str


class AgentRow(Struct, frozen=True, kw_only=True):
    """An agent in a list. `latest` is None only while it has no version."""

    id: str
    workspace_id: str
    name: str
    status: Literal["active", "archived"]
    latest: LatestVersion | None
    created_at: datetime
    updated_at: datetime


def table(name: str) -> sa.Table:
    """Make the read model's table."""
    return read_model(
        name,
        text("workspace_id"),
        text("name"),
        text("status"),
        number("version"),
        text("version_status"),
        text("mode"),
        text("reason"),
        text("detail"),
        moment("created_at"),
        moment("updated_at"),
        lists=[("workspace_id",)],
    )


def project(recorded: Recorded[Any]) -> Iterable[Statement]:
    """Return what an event means for the table."""
    event, at = recorded.event, recorded.at
    match event:
        case AgentCreated(agent_id=id):
            created = {
                "position": recorded.position,
                "workspace_id": event.workspace_id,
                "name": event.name,
                "status": "active",
                "created_at": at,
                "updated_at": at,
            }
            yield Insert(id, created)
        case AgentVersionDrafted(agent_id=id, version=version):
            drafted = {
                "version": version,
                "version_status": "draft",
                "mode": event.mode,
                "reason": event.reason,
                "detail": "",
                "updated_at": at,
            }
            yield Update(id, drafted)
        case AgentVersionReady(agent_id=id, version=version):
            yield Update(id, {"updated_at": at})
            yield Update(id, {"version_status": "ready"}, where=("version", "=", version))
        case AgentVersionFailed(agent_id=id, version=version, detail=detail):
            failed = {"version_status": "failed", "detail": cut(detail)}
            yield Update(id, {"updated_at": at})
            yield Update(id, failed, where=("version", "=", version))
        case AgentArchived(agent_id=id):
            yield Update(id, {"status": "archived", "updated_at": at})
        case _:
            pass


AGENTS = Projection(
    name="agents",
    version=1,
    handles=(
        AgentCreated,
        AgentVersionDrafted,
        AgentVersionReady,
        AgentVersionFailed,
        AgentArchived,
    ),
    table=table,
    project=project,
)


async def list_agents(
    reads: ReadModels,
    workspace_id: str,
    *,
    archived: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[AgentRow]:
    """Return a workspace's agents, newest first; deleted ones only where `archived` asks for them.

    Raises Invalid for a bad cursor.
    """

    def narrow(agents: sa.FromClause) -> Iterable[sa.ColumnElement[bool]]:
        yield agents.c.workspace_id == workspace_id
        if not archived:
            yield agents.c.status == "active"

    return await reads.page(AGENTS, narrow, _row, cursor=cursor, limit=limit)


def _row(row: dict[str, Any]) -> AgentRow:
    latest = LatestVersion(
        version=row["version"],
        status=row["version_status"],
        mode=row["mode"],
        reason=row["reason"],
        detail=row["detail"],
    )
    return AgentRow(
        id=row["id"],
        workspace_id=row["workspace_id"],
        name=row["name"],
        status=row["status"],
        latest=latest if latest.version else None,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
