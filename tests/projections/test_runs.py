"""Runs in lists: given events, then rows."""

from typing import Any

import pytest

from adapters.event_store.store import Store
from domain.errors import Invalid, Unavailable
from domain.runs import (
    RunCancelRequested,
    RunClaimed,
    RunEnded,
    RunEvent,
    RunRetried,
    RunStarted,
    Usage,
)
from projections.reads import ReadModels
from projections.rebuilding import Parts
from projections.runs import RUNS, RunRow, list_runs
from tests.projections.histories import built, caught_up, projecting, requested, say

CLAIMED = RunClaimed(run_id="r1", attempt=1, worker="m")
STARTED = RunStarted(run_id="r1", attempt=1, sandbox="s")
CANCELLING = RunCancelRequested(run_id="r1")
RETRIED = RunRetried(run_id="r1", attempt=1)
ENDED = RunEnded(
    run_id="r1",
    how="failed",
    reason="exit_nonzero",
    detail="it broke",
    attempt=1,
    exit_code=3,
    output="half a ",
    usage=Usage(seconds=1.5, output_tokens=7),
)


async def test_a_run_that_ended_shows_how(store: Store, parts: Parts, reads: ReadModels) -> None:
    appended = await say(store, "run-r1", requested("r1"), CLAIMED, STARTED, ENDED)
    first, _, started, ended = appended.recorded
    await built(parts, [RUNS])

    page = await list_runs(reads, "w")

    assert page.position == 4
    assert page.next_cursor is None
    assert page.items == [
        RunRow(
            id="r1",
            workspace_id="w",
            agent_id="a",
            agent_name="echo",
            deployment_id="d",
            slug="echo",
            revision=1,
            status="failed",
            reason="exit_nonzero",
            detail="it broke",
            message="hello",
            output="half a ",
            exit_code=3,
            usage=Usage(seconds=1.5, output_tokens=7),
            attempt=1,
            created_at=first.at,
            started_at=started.at,
            ended_at=ended.at,
            version=4,
        )
    ]


@pytest.mark.parametrize(
    ("events", "status", "attempt"),
    [
        ([], "waiting", 0),
        ([CLAIMED], "waiting", 1),
        ([CLAIMED, STARTED], "running", 1),
        ([CLAIMED, STARTED, CANCELLING], "cancelling", 1),
        ([CLAIMED, CANCELLING, STARTED], "cancelling", 1),
        ([CLAIMED, STARTED, RETRIED], "waiting", 1),
        ([CLAIMED, STARTED, ENDED], "failed", 1),
        ([RunEnded(run_id="r1", how="cancelled", reason="requested")], "cancelled", 0),
    ],
)
async def test_the_status_is_that_of_the_last_event(
    store: Store,
    parts: Parts,
    reads: ReadModels,
    events: list[RunEvent],
    status: str,
    attempt: int,
) -> None:
    await say(store, "run-r1", requested("r1"), *events)
    await built(parts, [RUNS])

    [row] = (await list_runs(reads, "w")).items

    assert (row.status, row.attempt, row.version) == (status, attempt, len(events) + 1)
    assert (row.started_at is None) == (STARTED not in events or RETRIED in events)


async def test_long_texts_are_cut(store: Store, parts: Parts, reads: ReadModels) -> None:
    ended = RunEnded(run_id="r1", how="completed", output="é" * 5000)
    await say(store, "run-r1", requested("r1", message="m" * 5000), ended)
    await built(parts, [RUNS])

    [row] = (await list_runs(reads, "w")).items

    assert (row.message, row.output) == ("m" * 1024, "é" * 1024)


async def test_a_zero_in_a_text_stops_nothing(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    """An agent may print what no database stores as text."""
    await say(store, "run-r1", requested("r1", message="a\0b"))
    await built(parts, [RUNS])
    async with projecting(parts, [RUNS]):
        await say(store, "run-r1", RunEnded(run_id="r1", how="completed", output="\0"))
        await caught_up(parts, reads, [RUNS])

    [row] = (await list_runs(reads, "w")).items

    assert (row.message, row.output) == ("a\ufffdb", "\ufffd")


async def test_lists_are_narrowed_by_name_or_id(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    agent, deployment = (
        "0" * 8 + "-0000-7000-8000-" + "1" * 12,
        "0" * 8 + "-0000-7000-8000-" + "2" * 12,
    )
    await say(store, "run-r1", requested("r1", agent_id=agent, deployment_id=deployment))
    await say(store, "run-r2", requested("r2", slug="other", agent_name="other"))
    await say(store, "run-r3", requested("r3", workspace_id="v"))
    await say(store, "run-r4", requested("r4", slug=deployment), CLAIMED_R4, STARTED_R4)
    await built(parts, [RUNS])

    async def ids(**wanted: Any) -> list[str]:
        return [row.id for row in (await list_runs(reads, "w", **wanted)).items]

    assert await ids() == ["r4", "r2", "r1"]
    assert await ids(deployment="echo") == ["r1"]
    assert await ids(deployment=deployment) == ["r4", "r1"]
    assert await ids(agent="other") == ["r2"]
    assert await ids(agent=agent) == ["r1"]
    assert await ids(status="running") == ["r4"]
    assert await ids(status="completed") == []
    assert await ids(agent="echo", status="waiting") == ["r1"]
    assert await ids(agent="e\0") == []
    assert await ids(deployment="' OR 1=1 --") == []


async def test_an_unknown_status_is_refused(reads: ReadModels) -> None:
    with pytest.raises(Invalid) as refusal:
        await list_runs(reads, "w", status="done")

    assert refusal.value.field == "status"


async def test_a_list_that_was_never_built_is_not_available(reads: ReadModels) -> None:
    with pytest.raises(Unavailable):
        await list_runs(reads, "w")


CLAIMED_R4 = RunClaimed(run_id="r4", attempt=1, worker="m")
STARTED_R4 = RunStarted(run_id="r4", attempt=1, sandbox="s")
