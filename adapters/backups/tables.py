"""What a backup has of the log's database: tables, their columns, and how a row is written down.

Left out: `leaders`, who stand for election again, and `log_head`, which follows from the events.
Leases are kept, so that the reaper finds the work of their owners, who are gone after a restore.
"""

import base64
from collections.abc import Sequence
from typing import Any

from msgspec import Struct


class Kept(Struct, frozen=True, kw_only=True):
    """One table. key: its primary key, which rows come in the order of. binary: its bytes."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    binary: frozenset[str] = frozenset()


EVENTS = Kept(
    name="events",
    columns=(
        "stream",
        "version",
        "position",
        "workspace_id",
        "type",
        "schema_version",
        "data",
        "key_id",
        "at",
        "actor",
        "command_id",
        "correlation_id",
        "causation_id",
    ),
    key=("stream", "version"),
    binary=frozenset({"data"}),
)
KEPT = (
    EVENTS,
    Kept(
        name="streams",
        columns=("stream", "version", "folding_version", "attempt"),
        key=("stream",),
    ),
    Kept(
        name="reservations",
        columns=("scope", "kind", "name", "id"),
        key=("scope", "kind", "name"),
    ),
    Kept(
        name="commands",
        columns=("scope", "key", "body_hash", "answer", "at"),
        key=("scope", "key"),
        binary=frozenset({"answer"}),
    ),
    Kept(
        name="leases",
        columns=("stream", "job_id", "owner", "attempt", "expires_at", "address", "waits_for"),
        key=("stream",),
    ),
    Kept(name="followers", columns=("name", "position"), key=("name",)),
    Kept(
        name="vault_keys",
        columns=("name", "key_id", "sealed", "at"),
        key=("name",),
        binary=frozenset({"sealed"}),
    ),
    Kept(
        name="vault_secrets",
        columns=("scope", "reference", "sealed", "at"),
        key=("scope", "reference"),
        binary=frozenset({"sealed"}),
    ),
)

# Any: a row is whatever its columns hold.
type Row = Sequence[Any]


def page_text(table: Kept, limit: int, *, first: bool) -> str:
    """Return the statement for the first rows, or for those after a key, which is its values."""
    key = ", ".join(table.key)
    places = ", ".join(f"${number}" for number in range(1, len(table.key) + 1))
    after = "" if first else f" WHERE ({key}) > ({places})"
    columns = ", ".join(table.columns)
    return f"SELECT {columns} FROM {table.name}{after} ORDER BY {key} LIMIT {limit}"  # noqa: S608


def key_of(table: Kept, row: Row) -> Row:
    """Return a row's key."""
    return [row[table.columns.index(column)] for column in table.key]


def unpacked(table: Kept, row: list[Any]) -> tuple[Any, ...]:
    """Return a row that was read from JSON, with its bytes. Raises ValueError."""
    if len(row) != len(table.columns):
        raise ValueError("a row has too few or too many columns")
    for place, column in enumerate(table.columns):
        if column in table.binary:
            row[place] = base64.b64decode(row[place], validate=True)
    return tuple(row)
