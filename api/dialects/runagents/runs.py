"""GET /runs, a run, and its events."""

from typing import Annotated, Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api.calls import Call
from api.dialects.runagents.events import EventView, event_views
from api.dialects.runagents.namespaces import HEADER, place_of
from api.folding import Folded, missing
from api.paging import caught_up
from api.runs import visible_run
from domain import runs
from domain.decider import Recorded
from domain.errors import Malformed
from domain.ids import stream_name
from domain.runs import RUN
from projections import runs as read_model

MOST_RUNS = 200
PAGE = 1000
OURS = {
    "RUNNING": ("waiting", "running", "cancelling"),
    "COMPLETED": ("completed",),
    "FAILED": ("failed", "cancelled"),
    "PAUSED_APPROVAL": (),
    "PAUSED_CONSENT": (),
}

Filter = Annotated[str | None, QueryParameter(max_length=200)]


# Any: as in agents.py.
@get("/", opt={"needs": "read"})
async def list_runs(
    request: Request[Any, Any, Any],
    call: NamedDependency[Call],
    *,
    agent: Filter = None,
    agent_id: Filter = None,
    status: Filter = None,
    limit: Annotated[int, QueryParameter(ge=1)] = MOST_RUNS,
) -> list[dict[str, Any]]:
    """List runs, newest first, as a bare array. Without any filter: those that are going on."""
    place = await place_of(call, request)
    wanted = agent or agent_id or None
    if status is None and wanted is None:
        status = "RUNNING"
    if status is not None and status.upper() not in OURS:
        raise Malformed(f"status must be one of {', '.join(OURS)}", field="status")
    await caught_up(call, "runs")
    statuses = OURS[status.upper()] if status else (None,)
    limit = min(limit, MOST_RUNS)
    found: list[str] = []
    for each in statuses:
        page = await read_model.list_runs(
            call.shared.reads, place.id, agent=wanted, status=each, limit=limit
        )
        found += [row.id for row in page.items]
    newest = sorted(found, reverse=True)[:limit]  # ids sort by the time they were made
    return [_shown(await visible_run(call, id), place.slug) for id in newest]


@get("/{run_id:str}", opt={"needs": "read"})
async def show_run(
    run_id: FromPath[str], request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> dict[str, Any]:
    """Show a run."""
    found = await _found(call, request, run_id)
    assert not isinstance(found.state, runs.Absent)
    slug = await call.shared.tenancy.slug_of(found.state.request.workspace_id)
    return _shown(found, slug)


@get("/{run_id:str}/events", opt={"needs": "read"})
async def list_events(
    run_id: FromPath[str],
    request: Request[Any, Any, Any],
    call: NamedDependency[Call],
    after_seq: Annotated[int, QueryParameter(ge=0)] = 0,
    limit: Annotated[int | None, QueryParameter(ge=1)] = None,
) -> list[EventView]:
    """List a run's events: the first `limit` after `after_seq`, as a bare array."""
    await _found(call, request, run_id)
    found: list[Recorded[Any]] = []
    after = 0
    while True:
        page = await call.store.read(stream_name(RUN.category, run_id), after=after, limit=PAGE)
        found += page
        if len(page) < PAGE:
            break
        after = page[-1].version
    views = [each for each in event_views(run_id, found) if each.seq > after_seq]
    return views[:limit]


async def _found(call: Call, request: Request[Any, Any, Any], run_id: str) -> Folded[runs.Run]:
    """Return a run of the header's workspace. Without a header: of any that the key sees."""
    found = await visible_run(call, run_id)
    assert not isinstance(found.state, runs.Absent)
    if request.headers.get(HEADER):
        place = await place_of(call, request)
        if found.state.request.workspace_id != place.id:
            raise missing("run", run_id)
    return found


def status_of(state: runs.Run) -> str:
    """Return the original's word: it knows one for all that is not over, and one for failing."""
    if not isinstance(state, runs.Ended):
        return "RUNNING"
    return "COMPLETED" if state.end.how == "completed" else "FAILED"


def _shown(found: Folded[runs.Run], namespace: str) -> dict[str, Any]:
    state = found.state
    assert not isinstance(state, runs.Absent)
    request = state.request
    shown: dict[str, Any] = {
        "id": found.id,
        "agent": request.agent_name,
        "agent_id": request.agent_name,
        "agent_uid": request.agent_id,
        "namespace": namespace,
        "conversation_id": request.conversation_id,
        "user_id": request.user_id,
        "status": status_of(state),
        "initial_message": request.message,
        "message": request.message,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
    }
    if isinstance(state, runs.Ended):
        shown["output"] = state.end.output
        if state.end.how != "completed":
            shown["error"] = state.end.detail or state.end.reason
    return shown
