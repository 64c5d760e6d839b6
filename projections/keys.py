"""API keys, as lists show them. Their digests are never in a read model."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct

from domain.catalog import (
    API_KEY,
    ApiKey,
    DocumentApplied,
    DocumentArchived,
    DocumentRevised,
    Role,
)
from domain.decider import Recorded
from domain.ids import split_stream
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

LAST_SECOND = 253_402_300_799  # of the year 9999, the last that a time can show


class KeyRow(Struct, frozen=True, kw_only=True):
    """An API key in a list.

    status: `active` says only that nobody revoked it; it may still have expired.
    workspace_id: the only workspace it sees, empty for all.
    """

    id: str
    organization_id: str
    workspace_id: str
    name: str
    role: Role
    prefix: str
    last4: str
    status: Literal["active", "revoked"]
    created_at: datetime
    expires_at: datetime | None


def table(name: str) -> sa.Table:
    """Make the read model's table."""
    return read_model(
        name,
        text("organization_id"),
        text("workspace_id"),
        text("name"),
        text("role"),
        text("prefix"),
        text("last4"),
        text("status"),
        moment("created_at"),
        moment("expires_at"),
        lists=[("organization_id",)],
    )


def project(recorded: Recorded[Any]) -> Iterable[Statement]:
    """Return what an event means for the table."""
    event = recorded.event
    match event:
        case DocumentApplied(document_id=id, name=name, spec=ApiKey() as key):
            first = {
                "position": recorded.position,
                "name": name,
                "status": "active",
                "created_at": recorded.at,
            }
            yield Insert(id, {**first, **_shown(key)})
        case DocumentRevised(document_id=id, spec=ApiKey() as key):
            yield Update(id, _shown(key))
        case DocumentArchived(document_id=id):
            if split_stream(recorded.stream)[0] == API_KEY.category:
                yield Update(id, {"status": "revoked"})
        case _:
            pass


def _shown(key: ApiKey) -> dict[str, Any]:
    return {
        "organization_id": key.organization_id,
        "workspace_id": key.workspace_id,
        "role": key.role,
        "prefix": key.prefix,
        "last4": key.last4,
        "expires_at": _expiry(key.expires_at),
    }


def _expiry(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(min(seconds, LAST_SECOND), UTC) if seconds else None


KEYS = Projection(
    name="keys",
    version=1,
    handles=(DocumentApplied, DocumentRevised, DocumentArchived),
    table=table,
    project=project,
)


async def list_keys(
    reads: ReadModels,
    organization_id: str,
    *,
    workspace_id: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[KeyRow]:
    """Return an organization's keys, newest first, revoked ones too.

    workspace_id: only keys that are narrowed to it. Raises Invalid for a bad cursor.
    """

    def narrow(keys: sa.FromClause) -> Iterable[sa.ColumnElement[bool]]:
        yield keys.c.organization_id == organization_id
        if workspace_id is not None:
            yield keys.c.workspace_id == workspace_id

    return await reads.page(KEYS, narrow, _row, cursor=cursor, limit=limit)


def _row(row: dict[str, Any]) -> KeyRow:
    return KeyRow(**row)
