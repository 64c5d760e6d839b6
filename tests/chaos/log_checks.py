"""What the log alone must show."""

import re
from typing import Any

from domain import builds, runs
from domain.decider import Recorded
from domain.entries import MessageSaid
from domain.ids import split_stream
from domain.merkle import Frontier
from tests.chaos.evidence import Evidence
from tests.chaos.histories import (
    CLAIMED,
    ENDED,
    REQUESTED,
    RETRIED,
    Phase,
    ends,
    histories,
    hits_worker,
    lateness,
    phases,
    programs,
    touches,
)
from tests.chaos.judging import Verdict
from workers.histories import with_entry

MARGIN_SECONDS = 2.0
ENOUGH_COMPLETED = 0.95
_SAID = re.compile(r"^(\d+):", re.MULTILINE)
_BY_SANDBOX = frozenset({"exit_nonzero", "killed_by_signal", "harness_error"})


def positions(evidence: Evidence) -> Verdict:
    """Positions are 1…n without gaps, versions likewise in each stream, and heads agree."""
    wrong: list[str] = []
    found = sorted(each.position for each in evidence.events if each.position is not None)
    for here, expected in zip(found, range(1, len(found) + 1), strict=True):
        if here != expected:
            wrong.append(f"position {expected} is missing or doubled ({here} is there)")
            break
    if evidence.log_position != len(found):
        wrong.append(f"the log is at {evidence.log_position} and has {len(found)} positions")
    streams: dict[str, list[Recorded[Any]]] = {}
    for event in evidence.events:
        streams.setdefault(event.stream, []).append(event)
    for stream, history in streams.items():
        if [each.version for each in history] != list(range(1, len(history) + 1)):
            wrong.append(f"{stream}: versions are {[each.version for each in history]}")
        head = evidence.heads.get(stream)
        folding = sum(each.position is not None for each in history)
        if head is None or (head.version, head.folding_version) != (len(history), folding):
            wrong.append(f"{stream}: its head is {head}, its events {len(history)} ({folding})")
    figure = f"{len(found)} positions, {len(evidence.events)} events, {len(streams)} streams"
    return Verdict(name="positions are gapless", figure=figure, wrong=wrong)


def ended_once(evidence: Evidence) -> Verdict:
    """Every run and build ended exactly once, and nothing happened to it afterwards."""
    wrong: list[str] = []
    streams = histories(evidence)
    for stream, history in streams.items():
        count = len(ends(history))
        if count != 1:
            wrong.append(f"{stream} ended {count} times: {[each.type for each in history]}")
        elif not isinstance(history[-1].event, ENDED):
            wrong.append(f"{stream}: {history[-1].type} after its end")
        if sum(isinstance(each.event, REQUESTED) for each in history) != 1:
            wrong.append(f"{stream} was not requested once")
    runs_ended = sum(stream.startswith("run-") for stream in streams)
    figure = f"{runs_ended} runs, {len(streams) - runs_ended} builds"
    return Verdict(name="every run and build ended once", figure=figure, wrong=wrong)


def in_time(evidence: Evidence) -> Verdict:
    """Whatever a run or build waited for came within the lease plus 2 s of its last fault."""
    limit = evidence.lease_seconds + MARGIN_SECONDS
    late = [(lateness(each, evidence.faults), each) for each in phases(evidence) if each.ended]
    wrong = [
        f"{each.stream}: {'worked on' if each.worker else 'waited'} until {seconds:.2f} s after"
        f" its last fault (from {each.began:.2f} to {each.ended:.2f}, lost: {each.lost})"
        for seconds, each in sorted(late, key=lambda pair: -pair[0])
        if seconds > limit
    ]
    lost = [seconds for seconds, each in late if each.lost]
    waited = [seconds for seconds, each in late if not each.worker]
    figure = (
        f"worst {max((seconds for seconds, _ in late), default=0):.2f} s of {limit:.1f} s"
        f" (given up {max(lost, default=0):.2f}, claimed {max(waited, default=0):.2f};"
        f" {len(late)} phases, {len(lost)} of them lost)"
    )
    return Verdict(name="no later than the lease and 2 s", figure=figure, wrong=wrong)


def completed(evidence: Evidence) -> Verdict:
    """Of the runs that may be run again, 95 % completed rather than ended `worker_lost`."""
    known = programs(evidence)
    done, lost = 0, list[str]()
    for stream, history in histories(evidence).items():
        program = known.get(split_stream(stream)[1])
        for end in ends(history)[:1]:
            if program is None or not program.idempotent or stream.startswith("build-"):
                continue
            done += end.event.how == "completed"
            if end.event.reason == "worker_lost":
                lost.append(f"{stream} ended worker_lost at attempt {end.event.attempt}")
    share = done / max(1, done + len(lost))
    wrong = lost if share < ENOUGH_COMPLETED or not done else []
    figure = f"{100 * share:.1f} % of {done + len(lost)}"
    return Verdict(name="idempotent runs complete", figure=figure, wrong=wrong)


def fenced(evidence: Evidence) -> Verdict:
    """Nothing is stored of an attempt that does not hold its run or build, or holds it no more."""
    wrong: list[str] = []
    takeovers = 0
    for stream, history in histories(evidence).items():
        attempt, holder = 0, ""
        for each in history:
            event = each.event
            if isinstance(event, CLAIMED):
                if holder or event.attempt != attempt + 1:
                    wrong.append(f"{stream} v{each.version}: claim {event.attempt} of {attempt}")
                takeovers += event.attempt > 1
                attempt, holder = event.attempt, f"worker:{event.worker}"
            elif isinstance(event, (*RETRIED, *ENDED)):
                if event.attempt != attempt:
                    wrong.append(f"{stream} v{each.version}: {each.type} of {event.attempt}")
                holder = ""
            elif isinstance(event, (*REQUESTED, runs.RunCancelRequested)):
                continue
            elif each.actor != holder or getattr(event, "attempt", attempt) != attempt:
                wrong.append(f"{stream} v{each.version}: {each.type} by {each.actor}")
            elif isinstance(event, MessageSaid):
                said = {int(number) for number in _SAID.findall(event.text)}
                if said - {attempt}:
                    wrong.append(f"{stream} v{each.version}: {event.text!r} in {attempt}")
    return Verdict(name="nothing of a fenced attempt", figure=f"{takeovers} takeovers", wrong=wrong)


def transcripts(evidence: Evidence) -> Verdict:
    """An end counts and anchors all entries; what a completed run said is there once, in order."""
    wrong: list[str] = []
    known = programs(evidence)
    counted = 0
    for stream, history in histories(evidence).items():
        frontier = Frontier()
        said = ""
        for each in history:
            if isinstance(each.event, CLAIMED):
                said = ""
            if each.position is None:
                frontier = with_entry(frontier, each)
                said += each.event.text if isinstance(each.event, MessageSaid) else ""
        counted += frontier.count
        for end in ends(history)[:1]:
            anchored = (end.event.entries, end.event.entries_root or Frontier().root())
            if anchored != (frontier.count, frontier.root()):
                wrong.append(f"{stream}: {anchored[0]} of {frontier.count} entries are anchored")
            program = known.get(split_stream(stream)[1])
            if program and isinstance(end.event, runs.RunEnded) and end.event.how == "completed":
                lines = [] if program.silent else list(map(str, range(program.lines)))
                expected = "".join(f"{end.event.attempt}:{line}\n" for line in lines)
                if not said.startswith(f"{expected}{end.event.attempt}:end "):
                    wrong.append(f"{stream} said {said!r}")
    return Verdict(name="transcripts are whole", figure=f"{counted} entries", wrong=wrong)


def explained(evidence: Evidence) -> Verdict:
    """Nothing failed but by a fault that hit it."""
    wrong: list[str] = []
    count = 0
    lived: dict[str, list[Phase]] = {}
    for phase in phases(evidence):
        lived.setdefault(phase.stream, []).append(phase)
    streams = histories(evidence)
    for stream, history in streams.items():
        for end in ends(history)[:1]:
            event = end.event
            if event.how != "failed":
                continue
            count += 1
            reason = event.reason if isinstance(event, runs.RunEnded) else event.step
            last = lived[stream][-1]
            hit = [each for each in evidence.faults if touches(each, last)]
            own = [each for each in hit if hits_worker(each, last) or each.part == "disk"]
            if isinstance(event, builds.BuildEnded):
                fine = bool(own)
            elif reason == "build_failed":
                fine = _build_failed(streams, history)
            elif reason in _BY_SANDBOX:
                fine = any(each.part in ("sandbox", "disk") for each in own)
            else:
                fine = reason == "worker_lost" and bool(hit)
            if not fine:
                wrong.append(f"{stream}: {reason}: {event.detail[:300]}")
    return Verdict(name="failures have their fault", figure=f"{count} failures", wrong=wrong)


def _build_failed(streams: dict[str, list[Recorded[Any]]], run: list[Recorded[Any]]) -> bool:
    build = streams.get(f"build-{run[0].event.waits_for}", [])
    return any(each.event.how == "failed" for each in ends(build))
