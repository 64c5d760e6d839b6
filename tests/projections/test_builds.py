"""Builds in lists: given events, then rows."""

import pytest

from adapters.event_store.store import Store
from domain.builds import (
    BuildCancelRequested,
    BuildClaimed,
    BuildEnded,
    BuildEvent,
    BuildPlanned,
    BuildRetried,
)
from projections.builds import BUILDS, BuildRow, Plan, list_builds
from projections.reads import ReadModels
from projections.rebuilding import Parts
from tests.projections.histories import build_requested, built, say

CLAIMED = BuildClaimed(build_id="b1", attempt=1, worker="m")
PLANNED = BuildPlanned(
    build_id="b1",
    attempt=1,
    mode="FULL_BUILD",
    confirmed=False,
    lock_digest="sha256:00",
    evidence="sdist only",
)
CANCEL_REQUESTED = BuildCancelRequested(build_id="b1")
RETRIED = BuildRetried(build_id="b1", attempt=1)
ENDED = BuildEnded(
    build_id="b1", how="failed", attempt=1, step="resolve", detail="no wheel", hint="pin another"
)


async def test_a_build_that_failed_shows_where_and_why(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    appended = await say(store, "build-b1", build_requested("b1"), CLAIMED, PLANNED, ENDED)
    await say(store, "build-b2", build_requested("b2", workspace_id="v"))
    await built(parts, [BUILDS])

    [row] = (await list_builds(reads, "w")).items

    assert row == BuildRow(
        id="b1",
        workspace_id="w",
        agent_id="a",
        agent_name="echo",
        version=1,
        deployment_id="d",
        revision=1,
        status="failed",
        mode="FULL_BUILD",
        plan=Plan(
            mode="FULL_BUILD", confirmed=False, lock_digest="sha256:00", evidence="sdist only"
        ),
        step="resolve",
        detail="no wheel",
        hint="pin another",
        attempt=1,
        created_at=appended.recorded[0].at,
        ended_at=appended.recorded[-1].at,
    )


@pytest.mark.parametrize(
    ("events", "status", "planned"),
    [
        ([], "waiting", False),
        ([CLAIMED], "running", False),
        ([CLAIMED, PLANNED], "running", True),
        ([CLAIMED, PLANNED, CANCEL_REQUESTED], "cancelling", True),
        ([CLAIMED, PLANNED, RETRIED], "waiting", False),
        ([CLAIMED, PLANNED, ENDED], "failed", True),
    ],
)
async def test_the_status_is_that_of_the_last_event(
    store: Store,
    parts: Parts,
    reads: ReadModels,
    events: list[BuildEvent],
    status: str,
    planned: bool,
) -> None:
    await say(store, "build-b1", build_requested("b1"), *events)
    await built(parts, [BUILDS])

    [row] = (await list_builds(reads, "w")).items

    assert (row.status, row.plan is not None) == (status, planned)
