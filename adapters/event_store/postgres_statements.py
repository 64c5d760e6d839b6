"""The statement that writes a batch on PostgreSQL, whole, and the values that go into it.

It is refused as a whole unless the streams stand where the plan says: so it may be sent on the
strength of what this process last knew, without asking first.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any, NamedTuple

from adapters.event_store.append import EVENT_COLUMNS, NEW, Head, Plan
from domain.ids import new_id
from domain.registry import SCHEMA_VERSION

# Of a batch's rows, what is not the same in all: `at` and `schema_version` are sent once.
_EVENT_TYPES = {
    "stream": "text",
    "version": "bigint",
    "position": "bigint",
    "workspace_id": "text",
    "type": "text",
    "data": "bytea",
    "actor": "text",
    "command_id": "text",
    "correlation_id": "text",
    "causation_id": "text",
}
_PLACES = {column: place for place, column in enumerate(EVENT_COLUMNS.split(", "))}
_MADE_TYPES = {
    "stream": "text",
    "version": "bigint",
    "folding_version": "bigint",
    "attempt": "int",
}
_MOVED_TYPES = {**_MADE_TYPES, "was_version": "bigint", "was_attempt": "int"}
_ANSWER_TYPES = {"scope": "text", "key": "text", "body_hash": "text", "answer": "bytea"}
_NAME_TYPES = {"scope": "text", "kind": "text", "name": "text", "id": "text"}


class Shape(NamedTuple):
    """Which parts a batch has; one statement is prepared for each combination."""

    folds: bool
    events: bool
    moved: bool
    made: bool
    answers: bool
    names: bool


class Write(NamedTuple):
    """A statement and its values. It returns the log's head after the batch."""

    text: str
    values: Sequence[Any]


def write(plan: Plan, before: Mapping[str, Head]) -> Write:
    """Return what stores a plan whose positions count from 0. `before`: the streams as they are.

    In the order of the streams, so that two writers never wait for each other.
    """
    moved: list[tuple[Any, ...]] = []
    made: list[tuple[Any, ...]] = []
    for stream in sorted(plan.heads):
        head, was = plan.heads[stream], before[stream]
        if was == NEW:
            made.append((stream, *head))
        else:
            moved.append((stream, *head, was.version, was.attempt))
    answers = [
        (answer.scope, answer.key, answer.body_hash, answer.body)
        for _, answer in sorted(plan.answers.items())
    ]
    names = [(*name, id) for name, id in sorted(plan.names.items()) if id]
    columns: list[tuple[str, Sequence[Any]]] = []
    if plan.rows:
        events = list(zip(*plan.rows, strict=True))
        columns += [(type_, events[_PLACES[name]]) for name, type_ in _EVENT_TYPES.items()]
    for types, rows in (
        (_MOVED_TYPES, moved),
        (_MADE_TYPES, made),
        (_ANSWER_TYPES, answers),
        (_NAME_TYPES, names),
    ):
        if rows:
            columns += zip(types.values(), zip(*rows, strict=True), strict=True)
    shape = Shape(
        plan.position > 0, bool(plan.rows), bool(moved), bool(made), bool(answers), bool(names)
    )
    values = [plan.at, len(moved), plan.position, *_values(columns)]
    return Write(_statement(shape), values)


def _values(columns: Sequence[tuple[str, Sequence[Any]]]) -> Sequence[Any]:
    """Return a separator, and the columns: text joined by it, the others as arrays.

    The driver takes its time over each element of an array; a text is copied whole.
    """
    separator = "\x1f"
    while True:
        values: list[Any] = [separator]
        for type_, column in columns:
            if type_ != "text":
                values.append(column)
                continue
            # One at the end too, or a single empty text would be no element at all.
            joined = separator.join(column) + separator
            if joined.count(separator) != len(column):
                break
            values.append(joined)
        else:
            return values
        separator = new_id()


@cache
def _statement(shape: Shape) -> str:
    """Build the statement; it is all constants.

    The head's row comes first: whoever has it, nobody else gives out positions. A count that is
    wrong divides by zero, which is how a statement says no: nothing of it is then done.
    """
    numbers = count(5)
    head = "SELECT position FROM log_head"
    if shape.folds:
        head = "UPDATE log_head SET position = position + $3::bigint RETURNING position"
    parts = [f"head AS ({head})"]

    def rows(types: Mapping[str, str]) -> str:
        arrays = [
            f"string_to_array(${number}::text, $4::text)"
            if type_ == "text"
            else f"${number}::{type_}[]"
            for type_, number in zip(types.values(), numbers, strict=False)
        ]
        return f"unnest({', '.join(arrays)}) AS u({', '.join(types)})"

    if shape.events:
        parts.append(_insert_events(rows(_EVENT_TYPES)))
    if shape.moved:
        parts.append(
            "moved AS (UPDATE streams s SET version = u.version,"  # noqa: S608
            " folding_version = u.folding_version, attempt = u.attempt"
            f" FROM {rows(_MOVED_TYPES)} WHERE s.stream = u.stream"
            " AND s.version = u.was_version AND s.attempt = u.was_attempt RETURNING 1)"
        )
    if shape.made:
        parts.append(_insert("made", "streams", _MADE_TYPES, "u.version", rows))
    if shape.answers:
        parts.append(_insert("answered", "commands", _ANSWER_TYPES, "u.answer", rows, "at"))
    if shape.names:
        parts.append(_insert("named", "reservations", _NAME_TYPES, "nullif(u.id, '')", rows))
    moved = "(SELECT count(*) FROM moved)" if shape.moved else "0"
    return (
        f"WITH {', '.join(parts)} SELECT head.position,"  # noqa: S608
        f" 1 / ({moved} = $2::bigint)::int, $1::bigint, $3::bigint, $4::text FROM head"
    )


def _insert_events(source: str) -> str:
    constants = {
        "at": "$1",
        "schema_version": str(SCHEMA_VERSION),
        # Null for an entry, whatever is added to it.
        "position": "head.position - $3 + u.position",
    }
    selected = ", ".join(constants.get(column, f"u.{column}") for column in _PLACES)
    return (
        f"written AS (INSERT INTO events ({EVENT_COLUMNS}) SELECT {selected}"  # noqa: S608
        f" FROM head, {source} WHERE u.version IS NOT NULL)"
    )


def _insert(
    name: str,
    table: str,
    types: Mapping[str, str],
    present: str,
    rows: Callable[[Mapping[str, str]], str],
    *stamps: str,
) -> str:
    """Return an insert. `present` is null in the row that the last separator makes."""
    columns = ", ".join((*types, *stamps))
    selected = ", ".join((*(f"u.{column}" for column in types), *("$1" for _ in stamps)))
    return (
        f"{name} AS (INSERT INTO {table} ({columns}) SELECT {selected}"  # noqa: S608
        f" FROM {rows(types)} WHERE {present} IS NOT NULL)"
    )
