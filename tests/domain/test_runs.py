"""Runs: every command in every state."""

import pytest
from msgspec.structs import replace

from domain.errors import Conflict, NotFound
from domain.runs import (
    MAX_SILENT_ATTEMPTS,
    RUN,
    Absent,
    AnchorRun,
    CancelRun,
    ClaimRun,
    Ended,
    EndRun,
    LoseRun,
    RequestRun,
    RunAlreadyEnded,
    RunAnchored,
    RunCancelRequested,
    RunClaimed,
    RunCommand,
    RunEnded,
    Running,
    RunNotHeld,
    RunRequested,
    RunRetried,
    RunStarted,
    StartRun,
    Waiting,
)
from tests.spec import Spec

run = Spec(RUN)
requested = RunRequested(
    run_id="r",
    workspace_id="w",
    agent_id="a",
    agent_name="echo",
    deployment_id="d",
    slug="echo",
    revision=1,
    message="hello",
)
claimed = RunClaimed(run_id="r", attempt=1, worker="m")
started = RunStarted(run_id="r", attempt=1, sandbox="s", stages={"open": 4.0})
anchored = RunAnchored(run_id="r", entries=4096, entries_root="00")
cancelling = RunCancelRequested(run_id="r", detail="enough")
retried = RunRetried(run_id="r", attempt=1, detail="gone", entries=7, entries_root="ab")
claimed_again = RunClaimed(run_id="r", attempt=2, worker="m")
ended = RunEnded(run_id="r", how="completed", attempt=1, output="hello")
cancelled = RunEnded(run_id="r", how="cancelled", reason="requested", detail="enough")

request = RequestRun(request=requested)
claim = ClaimRun(run_id="r", worker="m")
start = StartRun(run_id="r", attempt=1, sandbox="s", stages={"open": 4.0})
anchor = AnchorRun(run_id="r", entries=4096, entries_root="00")
cancel = CancelRun(run_id="r", detail="enough")
lose = LoseRun(run_id="r", attempt=1, seen=False, detail="gone", entries=7, entries_root="ab")
end = EndRun(end=ended)
COMMANDS: list[RunCommand] = [claim, start, anchor, cancel, lose, end]

waiting = run.given(requested)
held = run.given(requested, claimed)
running = held.given(started)
over = running.given(ended)


def test_a_run_is_requested_once() -> None:
    run.when(request).then(requested)
    for spec in (waiting, held, running, over):
        spec.when(request).then(Conflict)


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_happens_to_a_run_that_is_not_there(command: RunCommand) -> None:
    refusal = run.when(command).then(NotFound)

    assert refusal
    assert refusal.detail == "There is no run r."


@pytest.mark.parametrize("command", COMMANDS)
def test_an_ended_run_stays_as_it_is(command: RunCommand) -> None:
    refusal = over.when(command).then(RunAlreadyEnded)

    assert refusal
    assert refusal.members == {"run": "r", "ended": "completed"}


@pytest.mark.parametrize("command", [claim, start, anchor, lose, end])
def test_a_cancelled_run_stays_as_it_is(command: RunCommand) -> None:
    waiting.given(cancelled).when(command).then(RunAlreadyEnded)


def test_a_waiting_run_is_claimed() -> None:
    waiting.when(claim).then(claimed)
    running.given(retried).when(claim).then(claimed_again)


def test_only_one_worker_holds_it() -> None:
    held.when(claim).then(RunNotHeld)
    running.when(claim).then(RunNotHeld)


@pytest.mark.parametrize("command", [start, anchor, lose, end])
def test_nobody_speaks_for_a_run_that_waits(command: RunCommand) -> None:
    waiting.when(command).then(RunNotHeld)


def test_its_worker_starts_anchors_and_ends_it() -> None:
    held.when(start).then(started)
    running.when(anchor).then(anchored)
    running.when(end).then(ended)


@pytest.mark.parametrize("command", [start, lose, end])
def test_a_worker_that_was_taken_over_says_nothing(command: RunCommand) -> None:
    running.given(retried, claimed_again).when(command).then(RunNotHeld)


def test_a_run_that_nobody_holds_is_cancelled_at_once() -> None:
    waiting.when(cancel).then(cancelled)
    lost = replace(cancelled, attempt=1, entries=7, entries_root="ab")
    running.given(retried).when(cancel).then(lost)


def test_a_run_that_is_held_is_asked_to_end() -> None:
    held.when(cancel).then(cancelling)
    running.when(cancel).then(cancelling)


def test_cancelling_twice_changes_nothing() -> None:
    running.given(cancelling).when(cancel).then()
    waiting.given(cancelled).when(cancel).then()


def test_a_run_that_was_asked_to_end_can_still_end_in_any_way() -> None:
    running.given(cancelling).when(end).then(ended)


def test_a_lost_run_of_which_nothing_was_seen_is_tried_again() -> None:
    running.when(lose).then(retried)
    held.when(lose).then(retried)


def test_silent_attempts_have_an_end() -> None:
    last = replace(claimed, attempt=MAX_SILENT_ATTEMPTS)
    lost = RunEnded(
        run_id="r",
        how="failed",
        reason="worker_lost",
        detail="gone",
        attempt=MAX_SILENT_ATTEMPTS,
        entries=7,
        entries_root="ab",
    )

    waiting.given(last).when(replace(lose, attempt=MAX_SILENT_ATTEMPTS)).then(lost)


def test_a_lost_run_that_was_seen_ends() -> None:
    running.when(replace(lose, seen=True)).then(
        RunEnded(
            run_id="r",
            how="failed",
            reason="worker_lost",
            detail="gone",
            attempt=1,
            entries=7,
            entries_root="ab",
        )
    )


def test_a_deployment_may_let_a_seen_run_be_tried_again() -> None:
    generous = run.given(replace(requested, max_attempts=2), claimed, started)

    generous.when(replace(lose, seen=True)).then(retried)


def test_a_lost_run_that_was_being_cancelled_is_cancelled() -> None:
    running.given(cancelling).when(lose).then(
        RunEnded(
            run_id="r",
            how="cancelled",
            reason="requested",
            detail="gone",
            attempt=1,
            entries=7,
            entries_root="ab",
        )
    )


def test_states() -> None:
    asked = Running(requested, 1, "m", "s", cancel_requested=True)

    assert run.state() == Absent()
    assert run.given(claimed, started, anchored, cancelling, retried, ended).state() == Absent()
    assert waiting.state() == Waiting(requested)
    assert waiting.given(started, anchored, cancelling).state() == Waiting(requested)
    assert held.state() == Running(requested, 1, "m")
    assert running.state() == Running(requested, 1, "m", "s")
    assert running.given(anchored).state() == running.state()
    assert running.given(cancelling).state() == asked
    assert held.given(cancelling, started).state() == asked
    assert running.given(retried).state() == Waiting(requested, 1, 7, "ab")
    assert over.state() == Ended(requested, ended)
