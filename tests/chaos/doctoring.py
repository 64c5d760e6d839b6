"""Evidence with one thing made wrong in it: for each guard, what would be seen if it were gone.

Each of these must make the check fail that watches over the guard; others may notice, too.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from domain import runs
from domain.decider import Recorded
from domain.entries import MessageSaid
from tests.chaos.evidence import Answered, Death, Evidence, Followed, Head, Peeked, Said
from tests.chaos.histories import CLAIMED, ends, histories, programs

type Change = Callable[[Evidence], None]


class Doctored(Struct, frozen=True, kw_only=True):
    """fails: the name of the check that has to notice."""

    change: Change
    fails: str


def doctor(evidence: Evidence, change: Change) -> Evidence:
    """Return a copy with one thing wrong."""
    copy = deepcopy(evidence)
    change(copy)
    return copy


# -- changes of the log


def _lose_position(evidence: Evidence) -> None:
    """A gap: somebody took a position and rolled back."""
    evidence.events = [
        replace(each, position=each.position + 1) if each.position and each.position > 20 else each
        for each in evidence.events
    ]


def _lose_command(evidence: Evidence) -> None:
    """An acknowledged run that a crash took back."""
    run_id = _a_run(evidence, lambda _: True)
    stream = f"run-{run_id}"
    evidence.events = [each for each in evidence.events if each.stream != stream]
    del evidence.heads[stream]


def _double_command(evidence: Evidence) -> None:
    """A command that was sent again and done again, although answered as before."""
    sent = next(each for each in evidence.sent if each.kind == "run" and each.acknowledged)
    made = next(each for each in evidence.events if each.command_id == sent.key)
    event = replace(made.event, run_id="another")
    again = replace(made, stream="run-another", event=event)
    ended = runs.RunEnded(run_id="another", how="cancelled", reason="requested")
    _append(evidence, [again, replace(again, type="run.ended", event=ended, version=2)])


def _answer_differently(evidence: Evidence) -> None:
    """The same key, another answer."""
    sent = next(each for each in evidence.sent if each.kind == "run" and each.acknowledged)
    sent.answers.append(Answered(status=202, id="another"))


def _end_twice(evidence: Evidence) -> None:
    history = _history(evidence, lambda end: end.how == "completed")
    _insert(evidence, history[-1].stream, replace(history[-1], version=len(history) + 1))


def _never_end(evidence: Evidence) -> None:
    """A run that nobody took up again."""
    history = _history(evidence, lambda end: end.how == "completed")
    stream = history[0].stream
    evidence.events = [each for each in evidence.events if each is not history[-1]]
    head = evidence.heads[stream]
    evidence.heads[stream] = Head(
        version=head.version - 1, folding_version=head.folding_version - 1
    )


def _end_late(evidence: Evidence) -> None:
    """A run that was claimed, and so ended, ten seconds later, and nothing to blame for it."""
    history = _history(evidence, lambda end: end.how == "completed")
    evidence.faults = []
    for each in history[1:]:
        _put(evidence, each, replace(each, at=each.at + timedelta(seconds=10)))


def _lose_idempotent(evidence: Evidence) -> None:
    """Runs that might have been run again, given up."""
    for stream, history in histories(evidence).items():
        for end in ends(history):
            if stream.startswith("run-") and end.event.how == "completed":
                event = replace(end.event, how="failed", reason="worker_lost")
                _put(evidence, end, replace(end, event=event))


def _append_fenced(evidence: Evidence) -> None:
    """A worker that was given up and wrote on."""
    history = _history(evidence, lambda end: end.how == "completed")
    said = next(each for each in history if isinstance(each.event, MessageSaid))
    _put(evidence, said, replace(said, actor="worker:host-gone-1-ffffffff"))


def _say_as_earlier_attempt(evidence: Evidence) -> None:
    """The same worker, an attempt that it should have stopped."""
    history = _history(evidence, lambda end: end.how == "completed")
    said = next(each for each in history if isinstance(each.event, MessageSaid))
    _put(evidence, said, replace(said, event=MessageSaid(text="77:0\n")))


def _lose_entry(evidence: Evidence) -> None:
    history = _history(evidence, lambda end: end.how == "completed" and end.entries > 1)
    said = next(each for each in history if isinstance(each.event, MessageSaid))
    stream = said.stream
    evidence.events = [
        replace(each, version=each.version - 1)
        if each.stream == stream and each.version > said.version
        else each
        for each in evidence.events
        if each is not said
    ]
    head = evidence.heads[stream]
    evidence.heads[stream] = Head(version=head.version - 1, folding_version=head.folding_version)


def _fail_without_reason(evidence: Evidence) -> None:
    history = _history(evidence, lambda end: end.how == "completed")
    event = replace(history[-1].event, how="failed", reason="timed_out")
    _put(evidence, history[-1], replace(history[-1], event=event))


# -- changes of what clients saw


def _drop_version(evidence: Evidence) -> None:
    del _subscriber(evidence).frames[1]


def _double_version(evidence: Evidence) -> None:
    frames = _subscriber(evidence).frames
    frames.insert(1, frames[1])


def _swap_versions(evidence: Evidence) -> None:
    frames = _subscriber(evidence).frames
    frames[1], frames[2] = frames[2], frames[1]


def _never_complete(evidence: Evidence) -> None:
    seen = _subscriber(evidence)
    seen.done = False
    seen.frames.pop()


def _other_content(evidence: Evidence) -> None:
    frames = _subscriber(evidence).frames
    frames[1] = (frames[1][0], {**frames[1][1], "at": "2000-01-01T00:00:00.000000Z"})


def _lose_of_log(evidence: Evidence) -> None:
    del next(each for each in evidence.followed if not each.stream).frames[5]


def _foreign_event(evidence: Evidence) -> None:
    """A follower of one workspace's log is shown another's event."""
    first, second = [each for each in evidence.followed if not each.stream][:2]
    first.frames.append(second.frames[-1])


def _foreign_answer(evidence: Evidence) -> None:
    evidence.peeked.append(Peeked(path="/v1/runs/theirs", status=200))


def _foreign_item(evidence: Evidence) -> None:
    evidence.peeked.append(Peeked(path="/v1/workspaces/a/runs", foreign=["theirs"]))


# -- changes of the machine and the read models


def _stale_row(evidence: Evidence) -> None:
    row = next(iter(evidence.served["runs"].values()))
    row["status"] = "waiting" if row["status"] != "waiting" else "running"


def _lose_row(evidence: Evidence) -> None:
    evidence.served["runs"].popitem()


def _fall_behind(evidence: Evidence) -> None:
    evidence.served_positions["runs"] -= 1


def _crash(evidence: Evidence) -> None:
    evidence.deaths.append(Death(name="host-1", pid=1, at=2.0, code=1))


def _stop_badly(evidence: Evidence) -> None:
    evidence.deaths.append(Death(name="api-1", pid=1, at=2.0, code=-9, asked=True))


def _log_bug(evidence: Evidence) -> None:
    evidence.said.append(Said(name="host-1.1", line='{"level":"error","event":"run.broke"}'))


def _leave(what: str) -> Change:
    def leave(evidence: Evidence) -> None:
        evidence.left.append(what)

    return leave


_SUBSCRIBERS = "subscribers saw all, once, in order"
_FOREIGN = "nothing of another workspace"
_LEFT = "nothing is left"

DOCTORED: Mapping[str, Doctored] = {
    "a gap in the log": Doctored(change=_lose_position, fails="positions are gapless"),
    "a lost command": Doctored(change=_lose_command, fails="acknowledged commands are there once"),
    "a command done twice": Doctored(
        change=_double_command, fails="acknowledged commands are there once"
    ),
    "another answer": Doctored(change=_answer_differently, fails="one key has one answer"),
    "a doubled end": Doctored(change=_end_twice, fails="every run and build ended once"),
    "no end": Doctored(change=_never_end, fails="every run and build ended once"),
    "a late end": Doctored(change=_end_late, fails="no later than the lease and 2 s"),
    "idempotent runs given up": Doctored(change=_lose_idempotent, fails="idempotent runs complete"),
    "an append by a lost worker": Doctored(
        change=_append_fenced, fails="nothing of a fenced attempt"
    ),
    "an append of a lost attempt": Doctored(
        change=_say_as_earlier_attempt, fails="nothing of a fenced attempt"
    ),
    "a lost entry": Doctored(change=_lose_entry, fails="transcripts are whole"),
    "a failure without a fault": Doctored(
        change=_fail_without_reason, fails="failures have their fault"
    ),
    "a dropped version": Doctored(change=_drop_version, fails=_SUBSCRIBERS),
    "a doubled version": Doctored(change=_double_version, fails=_SUBSCRIBERS),
    "swapped versions": Doctored(change=_swap_versions, fails=_SUBSCRIBERS),
    "no end for a subscriber": Doctored(change=_never_complete, fails=_SUBSCRIBERS),
    "other content": Doctored(change=_other_content, fails=_SUBSCRIBERS),
    "an event missing in the log's stream": Doctored(change=_lose_of_log, fails=_SUBSCRIBERS),
    "a foreign event": Doctored(change=_foreign_event, fails=_FOREIGN),
    "a foreign answer": Doctored(change=_foreign_answer, fails=_FOREIGN),
    "a foreign item": Doctored(change=_foreign_item, fails=_FOREIGN),
    "a stale row": Doctored(change=_stale_row, fails="read models equal a rebuild"),
    "a lost row": Doctored(change=_lose_row, fails="read models equal a rebuild"),
    "a read model behind": Doctored(change=_fall_behind, fails="read models equal a rebuild"),
    "a crash": Doctored(change=_crash, fails="processes die of faults only"),
    "a stop that had to be forced": Doctored(
        change=_stop_badly, fails="processes die of faults only"
    ),
    "a bug in a log": Doctored(change=_log_bug, fails="no process met a bug"),
    "a process left": Doctored(change=_leave("process 1 bwrap"), fails=_LEFT),
    "a directory left": Doctored(change=_leave("temporary /tmp/x"), fails=_LEFT),
}


def _a_run(evidence: Evidence, wanted: Callable[[Any], bool]) -> str:
    """Return a run that a client asked for and that ended as wanted."""
    streams = histories(evidence)
    for run_id, program in programs(evidence).items():
        history = streams.get(f"run-{run_id}", [])
        claims = [each for each in history if isinstance(each.event, CLAIMED)]
        if len(claims) == 1 and not program.silent and program.lines > 1:
            over = ends(history)
            if over and wanted(over[0].event):
                return run_id
    raise AssertionError("the evidence has no such run")


def _history(evidence: Evidence, wanted: Callable[[Any], bool]) -> list[Recorded[Any]]:
    return histories(evidence)[f"run-{_a_run(evidence, wanted)}"]


def _subscriber(evidence: Evidence) -> Followed:
    return next(each for each in evidence.followed if each.done and len(each.frames) > 4)


def _put(evidence: Evidence, old: Recorded[Any], new: Recorded[Any]) -> None:
    evidence.events[next(n for n, each in enumerate(evidence.events) if each is old)] = new


def _insert(evidence: Evidence, stream: str, event: Recorded[Any]) -> None:
    last = max(n for n, each in enumerate(evidence.events) if each.stream == stream)
    evidence.log_position += 1
    evidence.events.insert(last + 1, replace(event, position=evidence.log_position))
    head = evidence.heads[stream]
    evidence.heads[stream] = Head(
        version=head.version + 1, folding_version=head.folding_version + 1
    )


def _append(evidence: Evidence, events: list[Recorded[Any]]) -> None:
    for event in events:
        evidence.log_position += 1
        evidence.events.append(replace(event, position=evidence.log_position))
    evidence.heads[events[0].stream] = Head(version=len(events), folding_version=len(events))
