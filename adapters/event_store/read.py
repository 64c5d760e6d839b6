"""Reading the log: the statements, the same for both databases, and rows becoming events again."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import structlog

from adapters.event_store.scripts import Rows
from domain.decider import Recorded, Unknown
from domain.ports import NOTHING, StreamHead
from domain.registry import decode

log = structlog.stdlib.get_logger(__name__)

EPOCH = datetime.fromtimestamp(0, UTC)

_COLUMNS = (
    "stream, version, position, workspace_id, type, schema_version, at, actor, command_id,"
    " correlation_id, causation_id, data"
)
_OF_EVENT = ", ".join(f"e.{column}" for column in _COLUMNS.split(", "))

# All of these are built of constants.
LOAD = (
    f"SELECT s.version, s.folding_version, s.attempt, {_OF_EVENT} FROM streams s"  # noqa: S608
    " LEFT JOIN events e ON e.stream = s.stream AND e.position IS NOT NULL"
    " WHERE s.stream = $1 ORDER BY e.version"
)
READ_FORWARDS = (
    f"SELECT {_COLUMNS} FROM events WHERE stream = $1 AND version > $2"  # noqa: S608
    " ORDER BY version LIMIT $3"
)
READ_BACKWARDS = (
    f"SELECT {_COLUMNS} FROM events WHERE stream = $1 AND ($2 = 0 OR version < $2)"  # noqa: S608
    " ORDER BY version DESC LIMIT $3"
)
READ_ALL = (
    f"SELECT {_COLUMNS} FROM events WHERE position > $1"  # noqa: S608
    " ORDER BY position LIMIT $2"
)
NEXT_EVENTS = 16
READ_NEXT = (
    f"SELECT {_COLUMNS} FROM events WHERE position > $1"  # noqa: S608
    f" ORDER BY position LIMIT {NEXT_EVENTS}"
)
LAST_FOLDING = (
    f"SELECT {_COLUMNS} FROM events WHERE stream = $1 AND position IS NOT NULL"  # noqa: S608
    " ORDER BY version DESC LIMIT 1"
)
HEAD = "SELECT position FROM log_head"
RESOLVE = "SELECT id FROM reservations WHERE scope = $1 AND kind = $2 AND name = $3"
NAMES = "SELECT name, id FROM reservations WHERE scope = $1 AND kind = $2 ORDER BY name"
CENSUS = """
SELECT CASE WHEN stream LIKE 'run-%' THEN 'run' WHEN stream LIKE 'build-%' THEN 'build'
        ELSE 'other' END,
    CASE WHEN waits_for <> '' THEN 'parked' WHEN owner = '' THEN 'unclaimed'
        WHEN expires_at <= now_us() THEN 'expired' ELSE 'held' END,
    count(*)
FROM leases GROUP BY 1, 2
"""
ANSWERED = "SELECT body_hash, answer FROM commands WHERE scope = $1 AND key = $2"

# What finds a row, the few events of one stream that are folded, or what is new at the log's end.
BRIEF = frozenset({LOAD, READ_NEXT, LAST_FOLDING, HEAD, RESOLVE, ANSWERED})


def read_types(types: Sequence[str], before: int) -> str:
    """Return the statement that reads events of some types; their values follow three others."""
    places = ", ".join(f"${number}" for number in range(before + 1, before + 1 + len(types)))
    return (
        f"SELECT {_COLUMNS} FROM events WHERE position > $1 AND position <= $2"  # noqa: S608
        f" AND type IN ({places}) ORDER BY position LIMIT $3"
    )


def recorded(rows: Rows) -> list[Recorded[Any]]:
    """Return the events of rows of `_COLUMNS`."""
    events: list[Recorded[Any]] = []
    last_us, last = 0, EPOCH
    for (
        stream,
        version,
        position,
        workspace_id,
        type_,
        schema_version,
        at,
        actor,
        command_id,
        correlation_id,
        causation_id,
        data,
    ) in rows:
        # What was committed together has one time.
        if at != last_us:
            last_us, last = at, datetime.fromtimestamp(at / 1_000_000, UTC)
        event = Recorded(
            stream=stream,
            version=version,
            position=position,
            workspace_id=workspace_id,
            type=type_,
            schema_version=schema_version,
            at=last,
            actor=actor,
            command_id=command_id,
            correlation_id=correlation_id,
            causation_id=causation_id,
            data=data,
            event=decode(type_, schema_version, data),
        )
        if isinstance(event.event, Unknown):
            _say_once(type_, schema_version)
        events.append(event)
    return events


@cache
def _say_once(type_: str, schema_version: int) -> None:
    log.warning("event.unknown", type=type_, schema_version=schema_version)


def stream_head(rows: Rows) -> StreamHead:
    """Return what `LOAD` found."""
    if not rows:
        return NOTHING
    version, folding_version, attempt = rows[0][:3]
    # A stream of entries alone has one row, with nothing in the event's columns.
    events = recorded([row[3:] for row in rows if row[3] is not None])
    return StreamHead(
        events=events, folding_version=folding_version, version=version, attempt=attempt
    )
