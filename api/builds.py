"""Builds: list, show, cancel, follow."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Struct
from structlog.contextvars import bind_contextvars

from api.calls import Call, positioned
from api.folding import Folded, fold, missing
from api.following import (
    After,
    EventLimit,
    LastEventId,
    LivePage,
    live_events,
    paged,
    resume_after,
)
from api.paging import Cursor, Limit, Listed, listed
from api.runs import Cancel
from api.times import stamp
from domain import builds, deploying
from domain.builds import BUILD, BuildStep
from domain.execution import Mode
from domain.handling import Unit
from domain.ids import stream_name
from projections.builds import BuildRow, BuildStatus, Plan, list_builds


class Build(Struct, frozen=True, kw_only=True):
    """A build. mode: provisional until there is a `plan`.

    step, detail, hint: where a failed build failed, what is wrong, what to do.
    steps: how long each took, once it has ended; lists leave it empty.
    """

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
    created_at: str
    ended_at: str | None
    steps: list[BuildStep] = []


@get(
    "/workspaces/{workspace:str}/builds",
    operation_id="ListBuilds",
    opt={"needs": "read"},
    tags=["Builds"],
)
async def list_workspace_builds(
    workspace: FromPath[str],
    call: NamedDependency[Call],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Listed[Build]:
    """List a workspace's builds."""
    place = await call.workspace(workspace)
    reads = call.shared.reads

    async def query() -> Any:
        return await list_builds(reads, place.id, cursor=cursor, limit=limit)

    return await listed(call, "builds", query, _row)


@get("/builds/{build_id:str}", operation_id="ShowBuild", opt={"needs": "read"}, tags=["Builds"])
async def show_build(build_id: FromPath[str], call: NamedDependency[Call]) -> Build:
    """Show a build."""
    return shown(await _visible(call, build_id))


class BuildMade(Struct, frozen=True):
    """The stored answer of a command on a build. `events`: how many folding events it had then."""

    build_id: str
    events: int


@post(
    "/builds/{build_id:str}/cancel",
    operation_id="CancelBuild",
    status_code=202,
    opt={"needs": "write"},
    tags=["Builds"],
)
async def cancel_build(
    build_id: FromPath[str], call: NamedDependency[Call], data: JSONBody[Cancel | None] = None
) -> Response[Build]:
    """Ask for a build's end, which fails the revisions and runs that wait for it.

    One that no worker has taken yet ends at once.
    """
    found = await _visible(call, build_id)
    assert not isinstance(found.state, builds.Absent)
    detail = (data and data.detail) or f"Cancelled by {call.caller.name}."

    async def work(unit: Unit) -> BuildMade:
        await deploying.cancel_build(unit, build_id, detail)
        return BuildMade(build_id, await unit.length(BUILD.category, build_id))

    made = await call.once(
        work,
        BuildMade,
        workspace_id=found.state.request.workspace_id,
        key=stream_name(BUILD.category, build_id),
    )
    found = await fold(call.store, BUILD, build_id, events=made.facts.events)
    return positioned(shown(found), made.position, 202)


@get(
    "/builds/{build_id:str}/events",
    operation_id="FollowBuild",
    opt={"needs": "read"},
    tags=["Builds"],
    responses=paged(LivePage),
)
async def follow_build(
    build_id: FromPath[str],
    request: Request[Any, Any, Any],
    call: NamedDependency[Call],
    *,
    after: After = 0,
    limit: EventLimit = 200,
    last_event_id: LastEventId = None,
) -> Response[Any]:
    """Page or stream a build's log and status, by `Accept`."""
    await _visible(call, build_id)
    after = resume_after(after, last_event_id)
    return await live_events(call, request, stream_name(BUILD.category, build_id), after, limit)


async def _visible(call: Call, build_id: str) -> Folded[builds.Build]:
    found = await fold(call.store, BUILD, build_id)
    if isinstance(found.state, builds.Absent):
        raise missing("build", build_id)
    if not await call.sees(found.state.request.workspace_id):
        raise missing("build", build_id)
    bind_contextvars(build=build_id, workspace=found.state.request.workspace_id)
    return found


def shown(found: Folded[builds.Build]) -> Build:
    """Return a build as clients see it. Raises NotFound."""
    state = found.state
    step = detail = hint = ""
    ended_at = plan = None
    steps: list[BuildStep] = []
    match state:
        case builds.Absent():
            raise missing("build", found.id)
        case builds.Waiting(attempts=attempt):
            status = "waiting"
        case builds.Running(attempt=attempt, plan=plan):
            status = "cancelling" if state.cancel_requested else "running"
        case builds.Ended(end=end, plan=plan):
            status, attempt, ended_at = end.how, end.attempt, found.updated_at
            step, detail, hint, steps = end.step, end.detail, end.hint, end.steps
    request = state.request
    return Build(
        id=found.id,
        workspace_id=request.workspace_id,
        agent_id=request.agent_id,
        agent_name=request.agent_name,
        version=request.version,
        deployment_id=request.deployment_id,
        revision=request.revision,
        status=status,
        mode=plan.mode if plan else request.mode,
        plan=_plan(plan),
        step=step,
        detail=detail,
        hint=hint,
        attempt=attempt,
        created_at=found.created_at,
        ended_at=ended_at,
        steps=steps,
    )


def _plan(plan: builds.BuildPlanned | None) -> Plan | None:
    if plan is None:
        return None
    return Plan(
        mode=plan.mode,
        confirmed=plan.confirmed,
        lock_digest=plan.lock_digest,
        evidence=plan.evidence,
    )


def _row(row: BuildRow) -> Build:
    return Build(
        id=row.id,
        workspace_id=row.workspace_id,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        version=row.version,
        deployment_id=row.deployment_id,
        revision=row.revision,
        status=row.status,
        mode=row.mode,
        plan=row.plan,
        step=row.step,
        detail=row.detail,
        hint=row.hint,
        attempt=row.attempt,
        created_at=stamp(row.created_at),
        ended_at=stamp(row.ended_at) if row.ended_at else None,
    )
