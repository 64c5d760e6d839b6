"""Builds, as lists show them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from domain.builds import (
    BuildCancelRequested,
    BuildClaimed,
    BuildEnded,
    BuildPlanned,
    BuildRequested,
    BuildRetried,
)
from domain.decider import Recorded
from domain.execution import Mode
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
from projections.reads import Page, ReadModels

type BuildStatus = Literal["waiting", "running", "cancelling", "succeeded", "failed", "cancelled"]


class Plan(Struct, frozen=True, kw_only=True):
    """What the resolver found (`BuildPlanned`)."""

    mode: Mode
    confirmed: bool
    lock_digest: str = ""
    evidence: str = ""


class BuildRow(Struct, frozen=True, kw_only=True):
    """A build in a list. `mode` is provisional until there is a plan; its log is left out."""

    id: str
    workspace_id: str
    agent_id: str
    agent_name: str
    version: int
    deployment_id: str
    revision: int
    status: BuildStatus
    mode: Mode
    plan: Plan | None
    step: str
    detail: str
    hint: str
    attempt: int
    created_at: datetime
    ended_at: datetime | None


def table(name: str) -> sa.Table:
    """Make the read model's table."""
    return read_model(
        name,
        text("workspace_id"),
        text("agent_id"),
        text("agent_name"),
        number("version"),
        text("deployment_id"),
        number("revision"),
        text("status"),
        text("mode"),
        text("plan"),
        text("step"),
        text("detail"),
        text("hint"),
        number("attempt"),
        moment("created_at"),
        moment("ended_at"),
        lists=[("workspace_id",)],
    )


def project(recorded: Recorded[Any]) -> Iterable[Statement]:
    """Return what an event means for the table."""
    event = recorded.event
    match event:
        case BuildRequested(build_id=id):
            yield Insert(id, _requested(event, recorded))
        case BuildClaimed(build_id=id, attempt=attempt):
            yield Update(id, {"status": "running", "attempt": attempt})
        case BuildPlanned(build_id=id, mode=mode):
            yield Update(id, {"mode": mode, "plan": _plan(event)})
        case BuildCancelRequested(build_id=id):
            yield Update(id, {"status": "cancelling"})
        case BuildRetried(build_id=id):
            yield Update(id, {"status": "waiting", "plan": ""})
        case BuildEnded(build_id=id):
            ended = {
                "status": event.how,
                "step": event.step,
                "detail": cut(event.detail),
                "hint": cut(event.hint),
                "ended_at": recorded.at,
            }
            yield Update(id, ended)
        case _:
            pass


def _requested(event: BuildRequested, recorded: Recorded[Any]) -> dict[str, Any]:
    return {
        "position": recorded.position,
        "workspace_id": event.workspace_id,
        "agent_id": event.agent_id,
        "agent_name": event.agent_name,
        "version": event.version,
        "deployment_id": event.deployment_id,
        "revision": event.revision,
        "status": "waiting",
        "mode": event.mode,
        "created_at": recorded.at,
    }


def _plan(event: BuildPlanned) -> str:
    plan = Plan(
        mode=event.mode,
        confirmed=event.confirmed,
        lock_digest=event.lock_digest,
        evidence=cut(event.evidence),
    )
    return msgspec.json.encode(plan).decode()


BUILDS = Projection(
    name="builds",
    version=2,
    handles=(
        BuildRequested,
        BuildClaimed,
        BuildPlanned,
        BuildCancelRequested,
        BuildRetried,
        BuildEnded,
    ),
    table=table,
    project=project,
)


async def list_builds(
    reads: ReadModels, workspace_id: str, *, cursor: str | None = None, limit: int = 50
) -> Page[BuildRow]:
    """Return a workspace's builds, newest first. Raises Invalid for a bad cursor."""

    def narrow(builds: sa.FromClause) -> Iterable[sa.ColumnElement[bool]]:
        yield builds.c.workspace_id == workspace_id

    return await reads.page(BUILDS, narrow, _row, cursor=cursor, limit=limit)


def _row(row: dict[str, Any]) -> BuildRow:
    row["plan"] = msgspec.json.decode(row["plan"], type=Plan) if row["plan"] else None
    return BuildRow(**row)
