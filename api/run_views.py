"""A run as clients see it, from its stream or from a list's row."""

from typing import Any, Literal

from msgspec import Struct

from api.folding import Folded, missing
from api.times import stamp
from domain import runs
from domain.decider import Recorded
from domain.live import CANCELLING, RUNNING, WAITING
from domain.runs import RunFile, RunStarted
from projections.runs import RunRow

type RunStatus = Literal["waiting", "running", "cancelling", "completed", "failed", "cancelled"]


class UsageShown(Struct, frozen=True, kw_only=True):
    """What a run used; tokens as the agent reported them."""

    seconds: float
    cpu_seconds: float
    peak_memory_mb: float
    input_tokens: int
    output_tokens: int


class Run(Struct, frozen=True, kw_only=True):
    """A run.

    status: `waiting` until the agent's program runs.
    reason: why it did not complete, from a closed set; `detail` in words.
    output: cut at 64 KiB; `output_digest` is then the whole one's, which /output answers with.
    extra: what the agent returned beside its answer.
    stages: milliseconds from the claim until each stage of its start was done; `warm`: the sandbox
    had been opened before. Both of the last attempt.
    Lists leave out `files`, `extra`, `stages`, `warm` and `output_digest`, and cut texts at 1,024
    characters.
    exit_code: of the agent's program, null where it has none.
    version: its stream's.
    """

    id: str
    workspace_id: str
    agent_id: str
    agent_name: str
    deployment_id: str
    slug: str
    revision: int
    status: RunStatus
    reason: str
    detail: str
    message: str
    output: str
    output_digest: str
    extra: dict[str, Any]
    exit_code: int | None
    files: list[RunFile]
    usage: UsageShown
    stages: dict[str, float]
    warm: bool
    attempt: int
    created_at: str
    started_at: str | None
    ended_at: str | None
    version: int


def shown(found: Folded[runs.Run]) -> Run:
    """Return a folded run. Raises NotFound."""
    state = found.state
    end: runs.RunEnded | None = None
    match state:
        case runs.Absent():
            raise missing("run", found.id)
        case runs.Waiting(attempts=attempt):
            status: RunStatus = WAITING
        case runs.Running(attempt=attempt):
            status = _running(state)
        case runs.Ended(end=end):
            attempt, status = end.attempt, end.how
    request = state.request
    start = _last_start(found)
    return Run(
        id=found.id,
        workspace_id=request.workspace_id,
        agent_id=request.agent_id,
        agent_name=request.agent_name,
        deployment_id=request.deployment_id,
        slug=request.slug,
        revision=request.revision,
        status=status,
        reason=end.reason if end else "",
        detail=end.detail if end else "",
        message=request.message,
        output=end.output if end else "",
        output_digest=end.output_digest if end else "",
        extra=end.extra if end else {},
        exit_code=end.exit_code if end else None,
        files=end.files if end else [],
        usage=_usage(end.usage if end else runs.Usage()),
        stages=start.event.stages if start else {},
        warm=bool(start and start.event.warm),
        attempt=attempt,
        created_at=found.created_at,
        started_at=stamp(start.at) if start and status != WAITING else None,
        ended_at=found.updated_at if end else None,
        version=found.head.version,
    )


def listed_run(row: RunRow) -> Run:
    """Return a list's row."""
    return Run(
        id=row.id,
        workspace_id=row.workspace_id,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        deployment_id=row.deployment_id,
        slug=row.slug,
        revision=row.revision,
        status=row.status,
        reason=row.reason,
        detail=row.detail,
        message=row.message,
        output=row.output,
        output_digest="",
        extra={},
        exit_code=row.exit_code,
        files=[],
        usage=_usage(row.usage),
        stages={},
        warm=False,
        attempt=row.attempt,
        created_at=stamp(row.created_at),
        started_at=stamp(row.started_at) if row.started_at else None,
        ended_at=stamp(row.ended_at) if row.ended_at else None,
        version=row.version,
    )


def _running(state: runs.Running) -> RunStatus:
    if state.cancel_requested:
        return CANCELLING
    return RUNNING if state.sandbox else WAITING


def _last_start(found: Folded[runs.Run]) -> Recorded[RunStarted] | None:
    """Return when the program of the last attempt began, and how."""
    starts = [each for each in found.head.events if isinstance(each.event, RunStarted)]
    return starts[-1] if starts else None


def _usage(usage: runs.Usage) -> UsageShown:
    return UsageShown(
        seconds=usage.seconds,
        cpu_seconds=usage.cpu_seconds,
        peak_memory_mb=usage.peak_memory_mb,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
    )
