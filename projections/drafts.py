"""Drafts, as lists show them: whole."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from domain.decider import Recorded
from domain.drafts import (
    DraftAbandoned,
    DraftArchived,
    DraftCompleted,
    DraftContent,
    DraftCreated,
    DraftRevised,
    DraftStatus,
)
from projections.projection import (
    Insert,
    Projection,
    Statement,
    Update,
    moment,
    number,
    read_model,
    text,
)
from projections.reads import Page, ReadModels


class DraftRow(Struct, frozen=True, kw_only=True):
    """A draft as it is shown. `deployed_as`: an agent, empty unless a deploy completed it."""

    id: str
    workspace_id: str
    status: DraftStatus
    version: int
    content: DraftContent
    deployed_as: str
    created_at: datetime
    updated_at: datetime


def table(name: str) -> sa.Table:
    """Make the read model's table."""
    return read_model(
        name,
        text("workspace_id"),
        text("status"),
        number("version"),
        text("content"),
        text("deployed_as"),
        moment("created_at"),
        moment("updated_at"),
        lists=[("workspace_id",)],
    )


def project(recorded: Recorded[Any]) -> Iterable[Statement]:
    """Return what an event means for the table. A draft's version is its stream's."""
    event = recorded.event
    now = {"version": recorded.version, "updated_at": recorded.at}
    match event:
        case DraftCreated(draft_id=id):
            created = {
                "position": recorded.position,
                "workspace_id": event.workspace_id,
                "status": "in_progress",
                "content": _text(event.content),
                "created_at": recorded.at,
            }
            yield Insert(id, created | now)
        case DraftRevised(draft_id=id, content=content):
            yield Update(id, {"content": _text(content)} | now)
        case DraftCompleted(draft_id=id, agent_name=name):
            yield Update(id, {"status": "completed", "deployed_as": name} | now)
        case DraftAbandoned(draft_id=id):
            yield Update(id, {"status": "abandoned"} | now)
        case DraftArchived(draft_id=id):
            yield Update(id, {"status": "archived"} | now)
        case _:
            pass


def _text(content: DraftContent) -> str:
    return msgspec.json.encode(content).decode()


DRAFTS = Projection(
    name="drafts",
    version=1,
    handles=(DraftCreated, DraftRevised, DraftCompleted, DraftAbandoned, DraftArchived),
    table=table,
    project=project,
)


async def list_drafts(
    reads: ReadModels, workspace_id: str, *, cursor: str | None = None, limit: int = 50
) -> Page[DraftRow]:
    """Return a workspace's drafts, newest first, but not deleted ones.

    Raises Invalid for a bad cursor.
    """

    def narrow(drafts: sa.FromClause) -> Iterable[sa.ColumnElement[bool]]:
        yield drafts.c.workspace_id == workspace_id
        yield drafts.c.status != "archived"

    return await reads.page(DRAFTS, narrow, _row, cursor=cursor, limit=limit)


def _row(row: dict[str, Any]) -> DraftRow:
    content = msgspec.json.decode(row.pop("content"), type=DraftContent)
    return DraftRow(content=content, **row)
