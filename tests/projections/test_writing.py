"""Joining a batch's statements must not change what they do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.projection import (
    COMPARE,
    Comparison,
    Insert,
    Statement,
    Update,
    number,
    read_model,
    text,
)
from projections.writing import Joined

TABLE = read_model("things", text("word"), number("count"), lists=[])

ids = st.sampled_from("abc")
values = st.dictionaries(
    st.sampled_from(["word", "count"]), st.integers(0, 3), min_size=1, max_size=2
)
comparisons: list[Comparison] = ["=", "!=", "<"]
guards = st.none() | st.tuples(st.just("count"), st.sampled_from(comparisons), st.integers(0, 3))


@st.composite
def histories(draw: st.DrawFn) -> list[Statement]:
    """Statements in which every row begins with its Insert, or was there before."""
    statements: list[Statement] = []
    begun: set[str] = set("a")  # this one was there before
    for _ in range(draw(st.integers(0, 25))):
        id = draw(ids)
        if id not in begun:
            begun.add(id)
            statements.append(Insert(id, {"position": ord(id), **draw(values)}))
        else:
            statements.append(Update(id, draw(values), where=draw(guards)))
    return statements


@given(histories())
def test_joined_statements_do_what_they_do_one_by_one(statements: list[Statement]) -> None:
    there = {"a": {"id": "a", "position": 1, "word": "", "count": 0}}

    assert _joined(there, statements) == _one_by_one(there, statements)


def _one_by_one(
    there: dict[str, dict[str, Any]], statements: list[Statement]
) -> dict[str, dict[str, Any]]:
    rows = {id: dict(row) for id, row in there.items()}
    for statement in statements:
        match statement:
            case Insert(id=id, values=given):
                rows[id] = {"word": "", "count": 0, **given, "id": id}
            case Update(id=id, values=given, where=where):
                if where is None or COMPARE[where[1]](rows[id][where[0]], where[2]):
                    rows[id].update(given)
    return rows


def _joined(
    there: dict[str, dict[str, Any]], statements: list[Statement]
) -> dict[str, dict[str, Any]]:
    joined = Joined(TABLE)
    for statement in statements:
        joined.add(statement)
    rows = {id: dict(row) for id, row in there.items()}
    rows.update(joined.inserts)
    for shapes in joined.rounds():
        # Within a round the order must not matter: every row is in it once.
        for updates in reversed(list(shapes.values())):
            for update in updates:
                where = update.where
                if where is None or COMPARE[where[1]](rows[update.id][where[0]], where[2]):
                    rows[update.id].update(update.values)
    return rows


def test_a_row_that_begins_twice_is_a_fault() -> None:
    joined = Joined(TABLE)
    joined.add(Insert("a", {"position": 1}))

    with pytest.raises(ValueError, match="a is inserted after it was written"):
        joined.add(Insert("a", {"position": 2}))


def test_updates_of_one_row_become_one_statement() -> None:
    joined = Joined(TABLE)
    for count in range(3):
        joined.add(Update("a", {"count": count}))
    joined.add(Update("a", {"word": "x"}))

    assert list(joined.rounds()) == [
        {(("count", "word"), None): [Update("a", {"count": 2, "word": "x"})]}
    ]
