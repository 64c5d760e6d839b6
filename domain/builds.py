"""A build: makes an agent's version runnable, and logs how. Stream `build-<id>`.

Waiting -> Running -> Ended; a lost worker sends it back to Waiting; may end from any state.
Cancelling a running one is a request to its worker; cancelling a waiting one ends it at once.
Its log lines are entries (`BuildLogged`).
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from domain.decider import Command, Decider, Event
from domain.errors import Conflict, NotFound
from domain.execution import Artifact, Mode

MAX_ATTEMPTS = 5  # a build that loses its worker this often takes its workers down itself
AGAIN = "Deploy again for another build."

type BuildHow = Literal["succeeded", "failed", "cancelled"]


class BuildRequested(Event, tag="build.requested"):
    """Build `version` of an agent for the revision that asked for it. `mode` is provisional."""

    build_id: str
    workspace_id: str
    agent_id: str
    agent_name: str
    version: int
    deployment_id: str
    revision: int
    mode: Mode


class BuildClaimed(Event, tag="build.claimed"):
    """A worker took it."""

    build_id: str
    attempt: int
    worker: str


class BuildPlanned(Event, tag="build.planned"):
    """What the resolver found. `confirmed`: the provisional mode was right.

    lock_digest: digest of the resolved requirements, empty when there are none.
    evidence: what the decision rests on, for people.
    """

    build_id: str
    attempt: int
    mode: Mode
    confirmed: bool
    lock_digest: str = ""
    evidence: str = ""


class BuildCancelRequested(Event, tag="build.cancel_requested"):
    """Somebody asked for the end; `detail` says who or why."""

    build_id: str
    detail: str = ""


class BuildRetried(Event, tag="build.retried"):
    """The worker of `attempt` was lost; the build waits for another.

    entries, entries_root: the log's length so far, and its Merkle root (hex).
    """

    build_id: str
    attempt: int
    detail: str = ""
    entries: int = 0
    entries_root: str = ""


class BuildStep(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of an attempt. cached: its result was there already, made by an earlier build."""

    name: str
    milliseconds: float
    cached: bool = False


class BuildEnded(Event, tag="build.ended"):
    """How it ended. A failure names the step, what is wrong, and what to do (`hint`).

    entries, entries_root: the log's length over all attempts, and its Merkle root (hex).
    steps: those of the last attempt, in order; none where its worker could not say.
    """

    build_id: str
    how: BuildHow
    attempt: int = 0
    artifact: Artifact | None = None
    step: str = ""
    detail: str = ""
    hint: str = ""
    entries: int = 0
    entries_root: str = ""
    steps: list[BuildStep] = []


type BuildEvent = (
    BuildRequested | BuildClaimed | BuildPlanned | BuildCancelRequested | BuildRetried | BuildEnded
)


class Absent(Struct, frozen=True):
    """Nothing was requested under this id."""


class Waiting(Struct, frozen=True):
    """Nobody holds it. `attempts` were lost before; `entries` are in its log."""

    request: BuildRequested
    attempts: int = 0
    entries: int = 0
    entries_root: str = ""


class Running(Struct, frozen=True):
    """A worker holds it."""

    request: BuildRequested
    attempt: int
    worker: str
    plan: BuildPlanned | None = None
    cancel_requested: bool = False


class Ended(Struct, frozen=True):
    """Final."""

    request: BuildRequested
    end: BuildEnded
    plan: BuildPlanned | None = None


type Build = Absent | Waiting | Running | Ended


def evolve(build: Build, event: BuildEvent) -> Build:
    """Fold one event."""
    match event, build:
        case BuildRequested(), _:
            return Waiting(event)
        case _, Absent():
            return build
        case BuildClaimed(attempt=attempt, worker=worker), _:
            return Running(build.request, attempt, worker)
        case BuildPlanned(), Running():
            return replace(build, plan=event)
        case BuildCancelRequested(), Running():
            return replace(build, cancel_requested=True)
        case BuildRetried(attempt=attempt, entries=count, entries_root=root), _:
            return Waiting(build.request, attempt, count, root)
        case BuildEnded(), Running():
            return Ended(build.request, event, build.plan)
        case BuildEnded(), _:
            return Ended(build.request, event)
        case ((BuildPlanned() | BuildCancelRequested()), _):
            return build


class RequestBuild(Command):
    """Ask for a build; `request` is the event as it will be stored."""

    request: BuildRequested


class ClaimBuild(Command):
    """Take the build for `worker`."""

    build_id: str
    worker: str


class PlanBuild(Command):
    """Record what the resolver found; `plan` is the event as it will be stored."""

    plan: BuildPlanned


class CancelBuild(Command):
    """Ask for its end; asking again changes nothing."""

    build_id: str
    detail: str = ""


class LoseBuild(Command):
    """Say that the worker of `attempt` is gone.

    entries, entries_root: the log as it is stored.
    """

    build_id: str
    attempt: int
    detail: str
    entries: int = 0
    entries_root: str = ""


class EndBuild(Command):
    """Record how it ended; `end` is the event as it will be stored."""

    end: BuildEnded


type BuildCommand = RequestBuild | ClaimBuild | PlanBuild | CancelBuild | LoseBuild | EndBuild


class BuildAlreadyEnded(Conflict):
    """Any command to a build that has ended. Deploy again for another."""

    type = "build-already-ended"
    title = "The build has already ended"

    def __init__(self, build_id: str, how: BuildHow) -> None:
        super().__init__(f"Build {build_id} already ended as {how}.", build=build_id, ended=how)


class BuildNotHeld(Conflict):
    """A worker spoke for an attempt that does not hold the build. It must stop."""

    type = "build-not-held"
    title = "This attempt does not hold the build"

    def __init__(self, build_id: str) -> None:
        super().__init__(f"Build {build_id} is not held by this attempt.", build=build_id)


def decide(command: BuildCommand, build: Build) -> list[BuildEvent]:
    """Return what happens, or refuse."""
    match command, build:
        case RequestBuild(request=request), Absent():
            return [request]
        case RequestBuild(request=request), _:
            raise Conflict(f"Build {request.build_id} already exists.", build=request.build_id)
        case _, Absent():
            raise NotFound(f"There is no build {_build_id(command)}.")
        case CancelBuild(), Ended(end=BuildEnded(how="cancelled")):
            return []
        case _, Ended(end=end):
            raise BuildAlreadyEnded(end.build_id, end.how)
        case CancelBuild(build_id=id, detail=detail), Waiting():
            return [_cancelled(id, detail, build)]
        case CancelBuild(build_id=id, detail=detail), Running(cancel_requested=False):
            return [BuildCancelRequested(build_id=id, detail=detail)]
        case CancelBuild(), Running():
            return []
        case ClaimBuild(build_id=id, worker=worker), Waiting(attempts=lost):
            return [BuildClaimed(build_id=id, attempt=lost + 1, worker=worker)]
        case PlanBuild(plan=plan), Running(attempt=held) if plan.attempt == held:
            return [plan]
        case LoseBuild(attempt=attempt), Running(attempt=held) if attempt == held:
            return [_lost(command, build)]
        case EndBuild(end=end), Running(attempt=held) if end.attempt == held:
            return [end]
        case ((ClaimBuild() | PlanBuild() | LoseBuild() | EndBuild()), (Waiting() | Running())):
            raise BuildNotHeld(build.request.build_id)


BUILD = Decider("build", Absent(), evolve, decide)


def _build_id(command: BuildCommand) -> str:
    match command:
        case RequestBuild(request=request):
            return request.build_id
        case PlanBuild(plan=plan):
            return plan.build_id
        case EndBuild(end=end):
            return end.build_id
        case _:
            return command.build_id


def _cancelled(build_id: str, detail: str, build: Waiting) -> BuildEnded:
    return BuildEnded(
        build_id=build_id,
        how="cancelled",
        attempt=build.attempts,
        detail=detail,
        hint=AGAIN,
        entries=build.entries,
        entries_root=build.entries_root,
    )


def _lost(command: LoseBuild, build: Running) -> BuildRetried | BuildEnded:
    if command.attempt < MAX_ATTEMPTS and not build.cancel_requested:
        return BuildRetried(
            build_id=command.build_id,
            attempt=command.attempt,
            detail=command.detail,
            entries=command.entries,
            entries_root=command.entries_root,
        )
    end = BuildEnded(
        build_id=command.build_id,
        how="cancelled",
        attempt=command.attempt,
        detail=command.detail,
        hint=AGAIN,
        entries=command.entries,
        entries_root=command.entries_root,
    )
    if build.cancel_requested:
        return end
    return replace(
        end,
        how="failed",
        step="worker",
        detail=f"The build lost its worker {MAX_ATTEMPTS} times. {command.detail}".strip(),
        hint="Look at the worker's log; the build may need more memory than its machine has.",
    )
