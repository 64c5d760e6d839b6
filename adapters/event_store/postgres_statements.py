"""The statement that writes a batch on PostgreSQL, whole, and the values that go into it.

It is refused as a whole unless the streams stand where the plan says: so it may be sent on the
strength of what this process last knew, without asking first.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any, NamedTuple

from adapters.event_store.append import EVENT_COLUMNS, NEW, Head, Plan

_EVENT_TYPES = (
    *("text", "bigint", "bigint", "text", "text", "int", "bytea", "bigint"),
    *("text", "text", "text", "text"),
)
_MOVED_COLUMNS = "stream, version, folding_version, attempt, was_version, was_attempt"
_MOVED_TYPES = ("text", "bigint", "bigint", "int", "bigint", "int")
_STREAM_COLUMNS = "stream, version, folding_version, attempt"
_STREAM_TYPES = _MOVED_TYPES[:4]
_ANSWER_COLUMNS = "scope, key, body_hash, answer, at"
_ANSWER_TYPES = ("text", "text", "text", "bytea", "bigint")
_NAME_COLUMNS = "scope, kind, name, id"
_NAME_TYPES = ("text", "text", "text", "text")


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
    moved: list[tuple[str, int, int, int, int, int]] = []
    made: list[tuple[str, int, int, int]] = []
    for stream in sorted(plan.heads):
        head, was = plan.heads[stream], before[stream]
        if was == NEW:
            made.append((stream, head.version, head.folding_version, head.attempt))
        else:
            now = (head.version, head.folding_version, head.attempt)
            moved.append((stream, *now, was.version, was.attempt))
    answers = [
        (answer.scope, answer.key, answer.body_hash, answer.body, plan.at)
        for _, answer in sorted(plan.answers.items())
    ]
    names = [(*name, id) for name, id in sorted(plan.names.items()) if id]
    shape = Shape(
        plan.position > 0, bool(plan.rows), bool(moved), bool(made), bool(answers), bool(names)
    )
    values: list[Any] = [plan.position] if shape.folds else []
    if moved:
        values.append(len(moved))
    for part in (plan.rows, moved, made, answers, names):
        if part:
            values.extend(zip(*part, strict=True))
    return Write(_statement(shape), values)


@cache
def _statement(shape: Shape) -> str:
    """Build the statement; it is all constants.

    The head's row comes first: whoever has it, nobody else gives out positions.
    """
    numbers = count(1)
    # Division by zero is how a statement says no: nothing of it is then done.
    check = ""
    if shape.folds:
        added = f"position + ${next(numbers)}::bigint"
        head = f"UPDATE log_head SET position = {added} RETURNING position"  # noqa: S608
    else:
        head = "SELECT position FROM log_head"
    if shape.moved:
        check = f", 1 / ((SELECT count(*) FROM moved) = ${next(numbers)}::bigint)::int"  # noqa: S608
    parts = [f"head AS ({head})"]

    def rows(types: Sequence[str], columns: str) -> str:
        arrays = ", ".join(f"${next(numbers)}::{type_}[]" for type_ in types)
        return f"unnest({arrays}) AS u({columns})"

    if shape.events:
        base = "head.position - $1 + " if shape.folds else ""
        selected = ", ".join(
            f"{base}u.position" if column == "position" else f"u.{column}"
            for column in EVENT_COLUMNS.split(", ")
        )
        source = rows(_EVENT_TYPES, EVENT_COLUMNS)
        parts.append(
            f"written AS (INSERT INTO events ({EVENT_COLUMNS}) SELECT {selected}"  # noqa: S608
            f" FROM head, {source})"
        )
    if shape.moved:
        parts.append(
            "moved AS (UPDATE streams s SET version = u.version,"  # noqa: S608
            " folding_version = u.folding_version, attempt = u.attempt"
            f" FROM {rows(_MOVED_TYPES, _MOVED_COLUMNS)} WHERE s.stream = u.stream"
            " AND s.version = u.was_version AND s.attempt = u.was_attempt RETURNING 1)"
        )
    if shape.made:
        parts.append(_insert("made", "streams", _STREAM_COLUMNS, rows(_STREAM_TYPES, "a, b, c, d")))
    if shape.answers:
        source = rows(_ANSWER_TYPES, "a, b, c, d, e")
        parts.append(_insert("answered", "commands", _ANSWER_COLUMNS, source))
    if shape.names:
        parts.append(
            _insert("named", "reservations", _NAME_COLUMNS, rows(_NAME_TYPES, "a, b, c, d"))
        )
    return f"WITH {', '.join(parts)} SELECT head.position{check} FROM head"  # noqa: S608


def _insert(name: str, table: str, columns: str, source: str) -> str:
    return f"{name} AS (INSERT INTO {table} ({columns}) SELECT * FROM {source})"  # noqa: S608
