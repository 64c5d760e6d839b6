"""Runs and builds as their streams tell of them, and which faults touched them."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from domain import builds, runs
from domain.decider import Recorded
from domain.ids import split_stream
from tests.chaos.evidence import Evidence, Fault
from tests.chaos.programs import BUILT, PROGRAMS, Program
from workers.sandboxes.owners import Owner

BUILD_SECONDS = 1.0  # that a build takes by itself, about
# What everybody needs: without it nothing is stored.
_FOR_ALL = frozenset({"postgres", "disk"})

CLAIMED = (runs.RunClaimed, builds.BuildClaimed)
RETRIED = (runs.RunRetried, builds.BuildRetried)
ENDED = (runs.RunEnded, builds.BuildEnded)
REQUESTED = (runs.RunRequested, builds.BuildRequested)


class Phase(Struct, kw_only=True):
    """A time in which a run or build waited for a worker (`worker` 0) or was worked on.

    ended: 0 if it never did. lost: its worker was given up. seconds: what the work takes by itself.
    """

    stream: str
    worker: int
    began: float
    ended: float = 0.0
    lost: bool = False
    seconds: float = 0.0


def histories(evidence: Evidence) -> dict[str, list[Recorded[Any]]]:
    """Return the events of every run and build, by stream."""
    found: dict[str, list[Recorded[Any]]] = {}
    for event in evidence.events:
        if split_stream(event.stream)[0] in ("run", "build"):
            found.setdefault(event.stream, []).append(event)
    return found


def programs(evidence: Evidence) -> dict[str, Program]:
    """Return what each acknowledged run runs, by its id."""
    known = {**PROGRAMS, BUILT.name: BUILT}
    return {
        each.acknowledged.id: known[each.program]
        for each in evidence.sent
        if each.kind == "run" and each.acknowledged
    }


def ends(history: Iterable[Recorded[Any]]) -> list[Recorded[Any]]:
    """Return the events that end it: one, if all is well."""
    return [each for each in history if isinstance(each.event, ENDED)]


def phases(evidence: Evidence) -> list[Phase]:
    """Return what every run and build went through, in no order."""
    known = programs(evidence)
    streams = histories(evidence)
    built = {
        split_stream(stream)[1]: over[0].at.timestamp()
        for stream, history in streams.items()
        if stream.startswith("build-") and (over := ends(history))
    }
    found: list[Phase] = []
    for stream, history in streams.items():
        program = known.get(split_stream(stream)[1])
        seconds = program.seconds if program else BUILD_SECONDS
        found += _phases_of(history, seconds, built)
    return found


def pid_of(worker: str) -> int:
    """Return the process of a worker, as leases and events call it."""
    return int(worker.split("-")[-2])


def touches(fault: Fault, phase: Phase) -> bool:
    """Whether a fault hit what the phase needed while it lasted.

    A waiting run needs the dispatcher, Redis, the reaper and every host: one may have taken the
    hint and died with it. What is worked on needs its own worker and sandbox; once its worker is
    lost, the reaper. All need the database, which a process can also withhold by standing still.
    """
    if phase.ended and fault.began > phase.ended:
        return False
    if fault.back and fault.back < phase.began:
        return False
    if fault.part in _FOR_ALL or fault.froze_log:
        return True
    workers = "host" if phase.stream.startswith("run-") else "build"
    if not phase.worker:
        return fault.part in {workers, "dispatch", "redis", "reap"}
    if hits_worker(fault, phase):
        return True
    return phase.lost and fault.part == "reap"


def hits_worker(fault: Fault, phase: Phase) -> bool:
    """Whether it hit the worker itself, or a sandbox of that worker's."""
    if fault.part == "sandbox":
        owner = Owner.of(fault.detail)
        return owner is not None and owner.pid == phase.worker
    return fault.pid == phase.worker


def lateness(phase: Phase, faults: Iterable[Fault]) -> float:
    """Return how many seconds after its last fault a phase ended, the work itself not counted.

    The clock starts when the phase does, and again when whatever it needed was back. For a phase
    that ended because its worker was lost it starts when that worker was hit.
    """
    since = phase.began
    for fault in faults:
        if not touches(fault, phase):
            continue
        gone = phase.lost and hits_worker(fault, phase)
        since = max(since, fault.began if gone else fault.back or phase.ended)
    return phase.ended - since - (0.0 if phase.lost else phase.seconds)


def _phases_of(
    history: list[Recorded[Any]], seconds: float, built: dict[str, float]
) -> list[Phase]:
    found: list[Phase] = []
    for each in history:
        at, event = each.at.timestamp(), each.event
        if found and not found[-1].ended and isinstance(event, (*CLAIMED, *RETRIED, *ENDED)):
            last = found[-1]
            last.ended = at
            actor = each.actor.removeprefix("worker:")
            by_worker = "-" in actor and not isinstance(event, CLAIMED)
            last.lost = bool(last.worker) and not (by_worker and pid_of(actor) == last.worker)
            last.lost = last.lost or isinstance(event, RETRIED)
        match event:
            case runs.RunRequested(waits_for=build):
                found.append(
                    Phase(stream=each.stream, worker=0, began=max(at, built.get(build, at)))
                )
            case builds.BuildRequested():
                found.append(Phase(stream=each.stream, worker=0, began=at))
            case runs.RunClaimed(worker=worker) | builds.BuildClaimed(worker=worker):
                found.append(
                    Phase(stream=each.stream, worker=pid_of(worker), began=at, seconds=seconds)
                )
            case runs.RunRetried() | builds.BuildRetried():
                found.append(Phase(stream=each.stream, worker=0, began=at))
            case _:
                pass
    return found
