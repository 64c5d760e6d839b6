"""A run: one message to one deployment. Stream `run-<id>`.

Waiting -> Running -> Ended; a lost worker sends it back to Waiting; may end from any state.
"""

from typing import Any, Literal

from msgspec import Struct

from domain.decider import Command, Decider, Event
from domain.errors import Conflict, NotFound

MAX_SILENT_ATTEMPTS = 3  # attempts of a run of which nothing ever left the sandbox

type How = Literal["completed", "failed", "cancelled"]
type Reason = Literal[
    "",  # completed
    "requested",  # cancelled by somebody
    "exit_nonzero",
    "killed_by_signal",
    "timed_out",
    "out_of_memory",
    "output_limit",
    "step_limit",
    "tool_limit",
    "budget_exhausted",
    "policy_denied",
    "worker_lost",
    "build_failed",
    "harness_error",
    "model_error",  # the model did not answer, or there is none
    "sandbox_unavailable",
]


class RunFile(Struct, frozen=True, kw_only=True):
    """A file that the run left: path relative to its working directory, blob digest, bytes."""

    path: str
    digest: str
    size: int


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run used, as measured by the sandbox's driver.

    Tokens are the gateway's figures if models were called through it, and else the agent's own.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0


# -- events: the stored format; see Event for how they may change


class RunRequested(Event, tag="run.requested"):
    """Somebody sent `message` to a deployment's revision.

    waits_for: the build that has to end first, or empty.
    max_attempts: how often a run whose output was already seen may be started in all.
    """

    run_id: str
    workspace_id: str
    agent_id: str
    agent_name: str
    deployment_id: str
    slug: str
    revision: int
    message: str
    history: list[Any] = []
    context: dict[str, Any] = {}
    user_id: str = ""
    conversation_id: str = ""
    waits_for: str = ""
    max_attempts: int = 1


class RunClaimed(Event, tag="run.claimed"):
    """A worker took the run; every later event of this attempt carries `attempt`."""

    run_id: str
    attempt: int
    worker: str


class RunStarted(Event, tag="run.started"):
    """The agent's program runs.

    stages: milliseconds since the claim, by stage. warm: its sandbox was opened before the claim.
    """

    run_id: str
    attempt: int
    sandbox: str
    stages: dict[str, float] = {}
    warm: bool = False


class RunAnchored(Event, tag="run.anchored"):
    """The transcript so far: entries counted over all attempts, and their Merkle root (hex)."""

    run_id: str
    entries: int
    entries_root: str


class RunCancelRequested(Event, tag="run.cancel_requested"):
    """Somebody asked for the end; the worker that holds the run ends it."""

    run_id: str
    detail: str = ""


class RunRetried(Event, tag="run.retried"):
    """The worker of `attempt` was lost; the run waits for another.

    entries, entries_root: the transcript so far, over all attempts, and its Merkle root (hex).
    """

    run_id: str
    attempt: int
    detail: str = ""
    entries: int = 0
    entries_root: str = ""


class RunEnded(Event, tag="run.ended"):
    """How it ended. `output` is cut at 64 KiB; the whole is then the blob `output_digest`.

    extra: what the agent returned beside its answer, at most 64 KiB of JSON.
    entries, entries_root: the transcript's length over all attempts, and its Merkle root (hex).
    """

    run_id: str
    how: How
    reason: Reason = ""
    detail: str = ""
    attempt: int = 0
    exit_code: int | None = None
    output: str = ""
    output_digest: str = ""
    extra: dict[str, Any] = {}
    files: list[RunFile] = []
    usage: Usage = Usage()
    entries: int = 0
    entries_root: str = ""


type RunEvent = (
    RunRequested
    | RunClaimed
    | RunStarted
    | RunAnchored
    | RunCancelRequested
    | RunRetried
    | RunEnded
)


# -- state


class Absent(Struct, frozen=True):
    """Nothing was requested under this id."""


class Waiting(Struct, frozen=True):
    """Nobody holds it. `attempts` were lost before, and said what `entries` and their root say."""

    request: RunRequested
    attempts: int = 0
    entries: int = 0
    entries_root: str = ""


class Running(Struct, frozen=True):
    """A worker holds it; `sandbox` is empty until the program runs."""

    request: RunRequested
    attempt: int
    worker: str
    sandbox: str = ""
    cancel_requested: bool = False


class Ended(Struct, frozen=True):
    """Final."""

    request: RunRequested
    end: RunEnded


type Run = Absent | Waiting | Running | Ended


def evolve(run: Run, event: RunEvent) -> Run:
    """Fold one event. Never argues: what is stored has happened."""
    match event, run:
        case RunRequested(), _:
            return Waiting(event)
        case _, Absent():
            return run
        case RunClaimed(attempt=attempt, worker=worker), _:
            return Running(run.request, attempt, worker)
        case RunStarted(sandbox=sandbox), Running():
            return Running(run.request, run.attempt, run.worker, sandbox, run.cancel_requested)
        case RunCancelRequested(), Running():
            return Running(run.request, run.attempt, run.worker, run.sandbox, cancel_requested=True)
        case RunRetried(attempt=attempt, entries=entries, entries_root=root), _:
            return Waiting(run.request, attempt, entries, root)
        case RunEnded(), _:
            return Ended(run.request, event)
        case ((RunAnchored() | RunStarted() | RunCancelRequested()), _):
            return run


# -- commands


class RequestRun(Command):
    """Ask for a run; `request` is the event as it will be stored."""

    request: RunRequested


class ClaimRun(Command):
    """Take the run for `worker`. Refused if another attempt holds it."""

    run_id: str
    worker: str


class StartRun(Command):
    """Say that the agent's program runs."""

    run_id: str
    attempt: int
    sandbox: str
    stages: dict[str, float]
    warm: bool = False


class AnchorRun(Command):
    """Anchor the transcript so far."""

    run_id: str
    entries: int
    entries_root: str


class CancelRun(Command):
    """Ask for the end. A run that nobody holds ends at once; asking twice changes nothing."""

    run_id: str
    detail: str


class LoseRun(Command):
    """Say that the worker of `attempt` is gone. `seen`: something of the run left its sandbox.

    entries, entries_root: the transcript as it is stored, should the run end now.
    """

    run_id: str
    attempt: int
    seen: bool
    detail: str
    entries: int
    entries_root: str


class EndRun(Command):
    """Record how it ended; `end` is the event as it will be stored."""

    end: RunEnded


type RunCommand = RequestRun | ClaimRun | StartRun | AnchorRun | CancelRun | LoseRun | EndRun


class RunAlreadyEnded(Conflict):
    """Any command to a run that has ended. Start another run instead."""

    type = "run-already-ended"
    title = "The run has already ended"

    def __init__(self, run_id: str, how: How) -> None:
        super().__init__(f"Run {run_id} already ended as {how}.", run=run_id, ended=how)


class RunNotHeld(Conflict):
    """A worker spoke for an attempt that does not hold the run. It must stop."""

    type = "run-not-held"
    title = "This attempt does not hold the run"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Run {run_id} is not held by this attempt.", run=run_id)


def decide(command: RunCommand, run: Run) -> list[RunEvent]:
    """Return what happens, or refuse."""
    match command, run:
        case RequestRun(request=request), Absent():
            return [request]
        case RequestRun(request=request), _:
            raise Conflict(f"Run {request.run_id} already exists.", run=request.run_id)
        case _, Absent():
            raise NotFound(f"There is no run {_run_id(command)}.")
        case CancelRun(), Ended(end=RunEnded(how="cancelled")):
            return []
        case _, Ended(end=end):
            raise RunAlreadyEnded(end.run_id, end.how)
        case ClaimRun(run_id=id, worker=worker), Waiting(attempts=lost):
            return [RunClaimed(run_id=id, attempt=lost + 1, worker=worker)]
        case CancelRun(run_id=id, detail=detail), Waiting():
            return [_cancelled(id, detail, run)]
        case CancelRun(run_id=id, detail=detail), Running(cancel_requested=False):
            return [RunCancelRequested(run_id=id, detail=detail)]
        case CancelRun(), Running():
            return []
        case StartRun(attempt=attempt), Running(attempt=held) if attempt == held:
            started = RunStarted(
                run_id=command.run_id,
                attempt=attempt,
                sandbox=command.sandbox,
                stages=command.stages,
                warm=command.warm,
            )
            return [started]
        case AnchorRun(run_id=id, entries=entries, entries_root=root), Running():
            return [RunAnchored(run_id=id, entries=entries, entries_root=root)]
        case LoseRun(attempt=attempt), Running(attempt=held) if attempt == held:
            return [_lost(command, run)]
        case EndRun(end=end), Running(attempt=held) if end.attempt == held:
            return [end]
        case (
            (ClaimRun() | StartRun() | AnchorRun() | LoseRun() | EndRun()),
            (Waiting() | Running()),
        ):
            raise RunNotHeld(run.request.run_id)


RUN = Decider("run", Absent(), evolve, decide)


def _run_id(command: RunCommand) -> str:
    match command:
        case RequestRun(request=request):
            return request.run_id
        case EndRun(end=end):
            return end.run_id
        case _:
            return command.run_id


def _cancelled(run_id: str, detail: str, run: Waiting) -> RunEnded:
    return RunEnded(
        run_id=run_id,
        how="cancelled",
        reason="requested",
        detail=detail,
        attempt=run.attempts,
        entries=run.entries,
        entries_root=run.entries_root,
    )


def _lost(command: LoseRun, run: Running) -> RunRetried | RunEnded:
    """Retry what nobody saw anything of, or what its deployment lets run again; else end it."""
    allowed = run.request.max_attempts if command.seen else MAX_SILENT_ATTEMPTS
    if not run.cancel_requested and command.attempt < max(allowed, run.request.max_attempts):
        return RunRetried(
            run_id=command.run_id,
            attempt=command.attempt,
            detail=command.detail,
            entries=command.entries,
            entries_root=command.entries_root,
        )
    return RunEnded(
        run_id=command.run_id,
        how="cancelled" if run.cancel_requested else "failed",
        reason="requested" if run.cancel_requested else "worker_lost",
        detail=command.detail,
        attempt=command.attempt,
        entries=command.entries,
        entries_root=command.entries_root,
    )
