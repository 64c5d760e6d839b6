"""Builds: every command in every state."""

import pytest
from msgspec.structs import replace

from domain.builds import (
    BUILD,
    MAX_ATTEMPTS,
    Absent,
    BuildAlreadyEnded,
    BuildCancelRequested,
    BuildClaimed,
    BuildCommand,
    BuildEnded,
    BuildNotHeld,
    BuildPlanned,
    BuildRequested,
    BuildRetried,
    CancelBuild,
    ClaimBuild,
    EndBuild,
    Ended,
    LoseBuild,
    PlanBuild,
    RequestBuild,
    Running,
    Waiting,
)
from domain.errors import Conflict, NotFound
from tests.spec import Spec

build = Spec(BUILD)
requested = BuildRequested(
    build_id="b",
    workspace_id="w",
    agent_id="a",
    agent_name="echo",
    version=1,
    deployment_id="d",
    revision=1,
    mode="FAST_OVERLAY",
)
claimed = BuildClaimed(build_id="b", attempt=1, worker="m")
planned = BuildPlanned(build_id="b", attempt=1, mode="FAST_OVERLAY", confirmed=True)
retried = BuildRetried(build_id="b", attempt=1, detail="gone")
claimed_again = BuildClaimed(build_id="b", attempt=2, worker="m")
ended = BuildEnded(build_id="b", how="succeeded", attempt=1)

request = RequestBuild(request=requested)
claim = ClaimBuild(build_id="b", worker="m")
plan = PlanBuild(plan=planned)
cancel_requested = BuildCancelRequested(build_id="b", detail="enough")

cancel = CancelBuild(build_id="b", detail="enough")
lose = LoseBuild(build_id="b", attempt=1, detail="gone")
end = EndBuild(end=ended)

waiting = build.given(requested)
running = build.given(requested, claimed)
over = build.given(requested, claimed, ended)


def test_a_build_is_requested_once() -> None:
    build.when(request).then(requested)
    for spec in (waiting, running, over):
        spec.when(request).then(Conflict)


@pytest.mark.parametrize("command", [claim, plan, cancel, lose, end])
def test_nothing_happens_to_a_build_that_is_not_there(command: BuildCommand) -> None:
    refusal = build.when(command).then(NotFound)

    assert refusal
    assert refusal.detail == "There is no build b."


@pytest.mark.parametrize("command", [claim, plan, cancel, lose, end])
def test_an_ended_build_stays_as_it_is(command: BuildCommand) -> None:
    refusal = over.when(command).then(BuildAlreadyEnded)

    assert refusal
    assert refusal.members == {"build": "b", "ended": "succeeded"}


def test_a_waiting_build_is_claimed() -> None:
    waiting.when(claim).then(claimed)
    running.given(retried).when(claim).then(claimed_again)


def test_only_one_worker_holds_it() -> None:
    running.when(claim).then(BuildNotHeld)


@pytest.mark.parametrize("command", [plan, lose, end])
def test_nobody_speaks_for_a_build_that_waits(command: BuildCommand) -> None:
    waiting.when(command).then(BuildNotHeld)


def test_its_worker_plans_and_ends_it() -> None:
    running.when(plan).then(planned)
    running.when(end).then(ended)
    running.given(planned).when(end).then(ended)


@pytest.mark.parametrize("command", [plan, lose, end])
def test_a_worker_that_was_taken_over_says_nothing(command: BuildCommand) -> None:
    running.given(retried, claimed_again).when(command).then(BuildNotHeld)


def test_a_lost_build_waits_again() -> None:
    running.when(lose).then(retried)


def test_a_build_that_takes_its_workers_down_is_given_up() -> None:
    held = build.given(requested, replace(claimed, attempt=MAX_ATTEMPTS))
    last = replace(lose, attempt=MAX_ATTEMPTS)

    held.when(last).then(
        BuildEnded(
            build_id="b",
            how="failed",
            attempt=MAX_ATTEMPTS,
            step="worker",
            detail="The build lost its worker 5 times. gone",
            hint="Look at the worker's log; the build may need more memory than its machine has.",
        )
    )


def test_a_waiting_build_is_cancelled_at_once() -> None:
    again = "Deploy again for another build."
    cancelled = BuildEnded(build_id="b", how="cancelled", detail="enough", hint=again)
    counted = replace(retried, entries=3, entries_root="00")

    waiting.when(cancel).then(cancelled)
    running.given(counted).when(cancel).then(
        replace(cancelled, attempt=1, entries=3, entries_root="00")
    )
    waiting.given(cancelled).when(cancel).then()


def test_a_running_build_is_asked_to_end_once() -> None:
    running.when(cancel).then(cancel_requested)
    running.given(cancel_requested).when(cancel).then()
    running.given(cancel_requested).when(plan).then(planned)
    running.given(cancel_requested).when(end).then(ended)


def test_a_build_that_was_asked_to_end_is_not_tried_again() -> None:
    running.given(cancel_requested).when(lose).then(
        BuildEnded(
            build_id="b",
            how="cancelled",
            attempt=1,
            detail="gone",
            hint="Deploy again for another build.",
        )
    )


def test_states() -> None:
    assert build.state() == Absent()
    assert build.given(claimed, planned, retried, ended).state() == Absent()
    assert waiting.state() == Waiting(requested)
    assert running.state() == Running(requested, 1, "m")
    assert running.given(planned).state() == Running(requested, 1, "m", planned)
    assert running.given(planned, retried).state() == Waiting(requested, attempts=1)
    assert running.given(planned, ended).state() == Ended(requested, ended, planned)
    assert waiting.given(ended).state() == Ended(requested, ended)
    assert waiting.given(planned).state() == Waiting(requested)
    assert waiting.given(cancel_requested).state() == Waiting(requested)
    assert running.given(cancel_requested).state() == replace(
        running.state(), cancel_requested=True
    )
