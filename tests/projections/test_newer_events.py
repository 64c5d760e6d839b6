"""Events of a newer version in the log: lists go on, and say of a run what they can."""

from typing import Any

import msgspec

from adapters.event_store.store import Store
from domain.decider import Event
from projections.projection import Projection
from projections.reads import ReadModels
from projections.rebuilding import Parts
from projections.registry import PROJECTIONS
from projections.runs import RUNS
from tests.goldens import FOLDER
from tests.projections.histories import (
    built,
    caught_up,
    projecting,
    requested,
    say,
    whole_table,
)

KNOWN = FOLDER / "projections" / "types.json"


class RunPaused(Event, tag="run.paused"):
    """A type that this version does not know."""

    run_id: str


class NewlyEnded(Event, tag="run.ended"):
    """A reason and a field that this version does not know."""

    run_id: str
    how: str
    reason: str
    attempt: int
    mood: str


class NewlyShaped(Event, tag="run.claimed"):
    """A known type that cannot be read any more."""

    run_id: str
    attempt: list[int]


async def test_projections_go_on(store: Store, parts: Parts, reads: ReadModels) -> None:
    await built(parts)
    async with projecting(parts):
        await say(store, "run-r1", requested("r1"), RunPaused(run_id="r1"))
        await say(store, "run-r1", NewlyShaped(run_id="r1", attempt=[1]))
        ended = NewlyEnded(run_id="r1", how="failed", reason="bored", attempt=1, mood="low")
        await say(store, "run-r1", ended)
        await say(store, "widget-1", RunPaused(run_id="r1"))
        await say(store, "run-r2", requested("r2"))

        await caught_up(parts, reads)

    assert {each.state for each in (await reads.positions()).values()} == {"active"}
    [first, second] = [_row(RUNS, row) for row in await whole_table(parts, RUNS)]
    assert (first["id"], first["status"], first["reason"]) == ("r1", "failed", "bored")
    assert second["id"] == "r2"


async def test_a_rebuild_passes_over_them_too(store: Store, parts: Parts) -> None:
    await say(store, "run-r1", requested("r1"), RunPaused(run_id="r1"))

    await built(parts)

    assert len(await whole_table(parts, RUNS)) == 1


def test_a_projection_of_more_types_has_another_version() -> None:
    """An older projector passed over them, in the table of the older version.

    Raise the version, then write the new types into the file, below the new one.
    """
    known = msgspec.json.decode(KNOWN.read_bytes(), type=dict[str, dict[str, list[str]]])

    found = {each.name: (str(each.version), sorted(each.types)) for each in PROJECTIONS}

    assert {name: known[name].get(version) for name, (version, _) in found.items()} == {
        name: types for name, (_, types) in found.items()
    }


def _row(projection: Projection, row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(projection.table("any").c.keys(), row, strict=True))
