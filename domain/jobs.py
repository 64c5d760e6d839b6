"""Which fact starts which work. The dispatcher applies this to every folding event of the log."""

from typing import Any

from msgspec import Struct

from domain.builds import BuildEnded, BuildRequested, BuildRetried
from domain.decider import Recorded
from domain.ids import split_stream, stream_name
from domain.runs import RunRequested, RunRetried

RUNS = "runs"
BUILDS = "builds"


class Job(Struct, frozen=True):
    """One piece of work for one queue.

    id: names the fact that asked for it, so that telling the queue twice is harmless: the stream
    and the attempt, joined by `-` (RQ allows letters, digits, `_` and `-`).
    stream: the run or build to work on; all that the job is told.
    after: the stream that has to end first, or empty.
    """

    queue: str
    id: str
    stream: str
    after: str = ""


class Release(Struct, frozen=True):
    """Work that waited for `stream` to end may start."""

    stream: str


def jobs_for(recorded: Recorded[Any]) -> list[Job | Release]:
    """Return the work that this fact starts, in order."""
    match recorded.event:
        case RunRequested(run_id=id, waits_for=build_id):
            after = stream_name("build", build_id) if build_id else ""
            return [Job(RUNS, f"run-{id}-1", recorded.stream, after)]
        case RunRetried(run_id=id, attempt=attempt):
            return [Job(RUNS, f"run-{id}-{attempt + 1}", recorded.stream)]
        case BuildRequested(build_id=id):
            return [Job(BUILDS, f"build-{id}-1", recorded.stream)]
        case BuildRetried(build_id=id, attempt=attempt):
            return [Job(BUILDS, f"build-{id}-{attempt + 1}", recorded.stream)]
        case BuildEnded():
            return [Release(recorded.stream)]
        case _:
            return []


def stream_of(job_id: str) -> str:
    """Return the stream that a job is about, by its id. Raises ValueError for any other text."""
    stream, _, attempt = job_id.rpartition("-")
    if not (stream and attempt.isdecimal()):
        raise ValueError(f"{job_id!r} is not the id of a job")
    return stream


def queue_for(stream: str) -> str:
    """Return the queue on which work on this stream belongs."""
    category, _ = split_stream(stream)
    return {"run": RUNS, "build": BUILDS}[category]
