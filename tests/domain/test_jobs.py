"""Which fact starts which work."""

import re

import pytest
from msgspec.structs import replace

from domain.builds import BuildClaimed, BuildEnded, BuildRequested, BuildRetried
from domain.decider import Event
from domain.jobs import BUILDS, RUNS, Job, Release, jobs_for, queue_for
from domain.registry import FOLDING
from domain.runs import RunEnded, RunRequested, RunRetried
from tests.goldens import example
from tests.recording import record

REQUESTED = RunRequested(
    run_id="0193-a",
    workspace_id="w",
    agent_id="a",
    agent_name="echo",
    deployment_id="d",
    slug="echo",
    revision=1,
    message="hello",
)
BUILD_REQUESTED = BuildRequested(
    build_id="b",
    workspace_id="w",
    agent_id="a",
    agent_name="echo",
    version=1,
    deployment_id="d",
    revision=1,
    mode="FAST_OVERLAY",
)


def test_a_requested_run_is_work() -> None:
    assert jobs_for(record(REQUESTED, "run-0193-a")) == [Job("runs", "run-0193-a-1", "run-0193-a")]


def test_a_run_may_have_to_wait_for_a_build() -> None:
    waits = replace(REQUESTED, waits_for="b")

    assert jobs_for(record(waits, "run-0193-a")) == [
        Job("runs", "run-0193-a-1", "run-0193-a", after="build-b")
    ]


def test_a_retried_run_is_other_work() -> None:
    retried = RunRetried(run_id="0193-a", attempt=2)

    assert jobs_for(record(retried, "run-0193-a")) == [Job("runs", "run-0193-a-3", "run-0193-a")]


def test_builds_are_work() -> None:
    retried = BuildRetried(build_id="b", attempt=1)

    assert jobs_for(record(BUILD_REQUESTED, "build-b")) == [Job("builds", "build-b-1", "build-b")]
    assert jobs_for(record(retried, "build-b")) == [Job("builds", "build-b-2", "build-b")]


def test_a_build_that_ends_releases_what_waited_for_it() -> None:
    ended = BuildEnded(build_id="b", how="failed")

    assert jobs_for(record(ended, "build-b")) == [Release("build-b")]


@pytest.mark.parametrize(
    "event",
    [BuildClaimed(build_id="b", attempt=1, worker="m"), RunEnded(run_id="r", how="completed")],
)
def test_other_facts_start_nothing(event: Event) -> None:
    assert jobs_for(record(event, "s")) == []


@pytest.mark.parametrize("type_", FOLDING, ids=lambda each: each.tag())
def test_job_ids_are_what_the_queue_allows(type_: type[Event]) -> None:
    event = example(type_)
    for work in jobs_for(record(event, "run-x")):
        if isinstance(work, Job):
            assert re.fullmatch(r"[A-Za-z0-9_-]+", work.id)


def test_work_goes_to_the_queue_of_its_kind() -> None:
    assert (queue_for("run-0193-a"), queue_for("build-b")) == (RUNS, BUILDS)
