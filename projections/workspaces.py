"""Workspaces, as lists show them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct

from domain.decider import Recorded
from domain.workspaces import WorkspaceArchived, WorkspaceCreated
from projections.projection import (
    Insert,
    Projection,
    Statement,
    Update,
    moment,
    read_model,
    text,
)
from projections.reads import Page, ReadModels


class WorkspaceRow(Struct, frozen=True, kw_only=True):
    """A workspace in a list."""

    id: str
    organization_id: str
    slug: str
    name: str
    status: Literal["active", "archived"]
    created_at: datetime


def table(name: str) -> sa.Table:
    """Make the read model's table."""
    return read_model(
        name,
        text("organization_id"),
        text("slug"),
        text("name"),
        text("status"),
        moment("created_at"),
        lists=[("organization_id",)],
    )


def project(recorded: Recorded[Any]) -> Iterable[Statement]:
    """Return what an event means for the table."""
    event = recorded.event
    match event:
        case WorkspaceCreated(workspace_id=id):
            created = {
                "position": recorded.position,
                "organization_id": event.organization_id,
                "slug": event.slug,
                "name": event.name,
                "status": "active",
                "created_at": recorded.at,
            }
            yield Insert(id, created)
        case WorkspaceArchived(workspace_id=id):
            yield Update(id, {"status": "archived"})
        case _:
            pass


WORKSPACES = Projection(
    name="workspaces",
    version=1,
    handles=(WorkspaceCreated, WorkspaceArchived),
    table=table,
    project=project,
)


async def list_workspaces(
    reads: ReadModels,
    organization_id: str,
    *,
    only: str | None = None,
    archived: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[WorkspaceRow]:
    """Return an organization's workspaces, newest first; archived ones only if asked for.

    only: the id of the one workspace that the caller can see. Raises Invalid for a bad cursor.
    """

    def narrow(workspaces: sa.FromClause) -> Iterable[sa.ColumnElement[bool]]:
        yield workspaces.c.organization_id == organization_id
        if only is not None:
            yield workspaces.c.id == only
        if not archived:
            yield workspaces.c.status == "active"

    return await reads.page(WORKSPACES, narrow, _row, cursor=cursor, limit=limit)


def _row(row: dict[str, Any]) -> WorkspaceRow:
    return WorkspaceRow(**row)
