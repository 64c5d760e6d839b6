"""Runs, as lists show them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, get_args

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from domain.decider import Recorded
from domain.errors import Invalid
from domain.runs import (
    RunAnchored,
    RunCancelRequested,
    RunClaimed,
    RunEnded,
    RunRequested,
    RunRetried,
    RunStarted,
    Usage,
)
from projections.projection import (
    Insert,
    Projection,
    Statement,
    Update,
    cut,
    moment,
    number,
    read_model,
    text,
)
from projections.reads import Page, ReadModels, is_id

RunStatus = Literal["waiting", "running", "cancelling", "completed", "failed", "cancelled"]
_STATUSES: tuple[str, ...] = get_args(RunStatus)


class RunRow(Struct, frozen=True, kw_only=True):
    """A run in a list. Its files are left out, and texts end after 1,024 characters.

    status: `waiting` until the agent's program runs, claimed or not.
    version: of the run's last folding event.
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
    exit_code: int | None
    usage: Usage
    attempt: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    version: int


def table(name: str) -> sa.Table:
    """Make the read model's table."""
    return read_model(
        name,
        text("workspace_id"),
        text("agent_id"),
        text("agent_name"),
        text("deployment_id"),
        text("slug"),
        number("revision"),
        text("status"),
        text("reason"),
        text("detail"),
        text("message"),
        text("output"),
        sa.Column("exit_code", sa.BigInteger),
        text("usage", "{}"),
        number("attempt"),
        moment("created_at"),
        moment("started_at"),
        moment("ended_at"),
        number("version"),
        lists=[
            ("workspace_id",),
            ("workspace_id", "slug"),
            ("workspace_id", "agent_name"),
            ("workspace_id", "status"),
        ],
    )


def project(recorded: Recorded[Any]) -> Iterable[Statement]:
    """Return what an event means for the table."""
    event, version = recorded.event, recorded.version
    match event:
        case RunRequested(run_id=id):
            yield Insert(id, _requested(event, recorded))
        case RunClaimed(run_id=id, attempt=attempt):
            yield Update(id, {"attempt": attempt, "version": version})
        case RunStarted(run_id=id):
            yield Update(id, {"started_at": recorded.at, "version": version})
            yield Update(id, {"status": "running"}, where=("status", "=", "waiting"))
        case RunAnchored(run_id=id):
            yield Update(id, {"version": version})
        case RunCancelRequested(run_id=id):
            yield Update(id, {"status": "cancelling", "version": version})
        case RunRetried(run_id=id):
            yield Update(id, {"status": "waiting", "started_at": None, "version": version})
        case RunEnded(run_id=id):
            yield Update(id, _ended(event, recorded))
        case _:
            pass


def _requested(event: RunRequested, recorded: Recorded[Any]) -> dict[str, Any]:
    return {
        "position": recorded.position,
        "workspace_id": event.workspace_id,
        "agent_id": event.agent_id,
        "agent_name": event.agent_name,
        "deployment_id": event.deployment_id,
        "slug": event.slug,
        "revision": event.revision,
        "status": "waiting",
        "message": cut(event.message),
        "created_at": recorded.at,
        "version": recorded.version,
    }


def _ended(event: RunEnded, recorded: Recorded[Any]) -> dict[str, Any]:
    return {
        "status": event.how,
        "reason": event.reason,
        "detail": cut(event.detail),
        "output": cut(event.output),
        "exit_code": event.exit_code,
        "usage": msgspec.json.encode(event.usage).decode(),
        "ended_at": recorded.at,
        "version": recorded.version,
    }


RUNS = Projection(
    name="runs",
    version=1,
    handles=(
        RunRequested,
        RunClaimed,
        RunStarted,
        RunAnchored,
        RunCancelRequested,
        RunRetried,
        RunEnded,
    ),
    table=table,
    project=project,
)


async def list_runs(
    reads: ReadModels,
    workspace_id: str,
    *,
    deployment: str | None = None,
    agent: str | None = None,
    status: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[RunRow]:
    """Return a workspace's runs, newest first.

    deployment, agent: slug or name, or id. Raises Invalid for an unknown status or a cursor that
    no list gave out.
    """
    if status is not None and status not in _STATUSES:
        allowed = ", ".join(_STATUSES)
        raise Invalid(f"There is no status {status!r}; use one of {allowed}.", field="status")

    def narrow(runs: sa.FromClause) -> Iterable[sa.ColumnElement[bool]]:
        yield runs.c.workspace_id == workspace_id
        if deployment is not None:
            yield _named(deployment, runs.c.slug, runs.c.deployment_id)
        if agent is not None:
            yield _named(agent, runs.c.agent_name, runs.c.agent_id)
        if status is not None:
            yield runs.c.status == status

    return await reads.page(RUNS, narrow, _row, cursor=cursor, limit=limit)


def _named(
    wanted: str, name: sa.ColumnElement[str], id: sa.ColumnElement[str]
) -> sa.ColumnElement[bool]:
    """A name may look like an id, so what looks like one is looked for as both."""
    if "\0" in wanted:
        return sa.false()  # nobody is called so, and PostgreSQL would not even compare it
    return sa.or_(id == wanted, name == wanted) if is_id(wanted) else name == wanted


def _row(row: dict[str, Any]) -> RunRow:
    row["usage"] = msgspec.json.decode(row["usage"], type=Usage)
    return RunRow(**row)
