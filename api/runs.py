"""Runs: request, list, show, cancel, follow, and the files that they left."""

from typing import Annotated, Any
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Stream
from msgspec import Meta, Struct
from structlog.contextvars import bind_contextvars

from api.calls import Call, Outcome, positioned
from api.folding import Folded, fold, folded, missing
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
from api.run_views import Run, listed_run, shown
from api.sources import check_text
from domain import runs
from domain.handling import Unit
from domain.ids import new_id, stream_name
from domain.requesting import NewRun, request_run
from domain.runs import RUN, CancelRun, RunFile
from projections.runs import list_runs

MAX_MESSAGE = 1_000_000
MAX_LABEL = 200

Filter = Annotated[str | None, QueryParameter(max_length=200)]


class RunRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """message: what the agent is asked. history, context: given to the agent as they are."""

    message: Annotated[str, Meta(max_length=MAX_MESSAGE)]
    history: list[Any] = []
    context: dict[str, Any] = {}
    user_id: Annotated[str, Meta(max_length=MAX_LABEL)] = ""
    conversation_id: Annotated[str, Meta(max_length=MAX_LABEL)] = ""


class Cancel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """detail: why, for whoever reads the history."""

    detail: Annotated[str, Meta(max_length=1000)] = ""


class RunFiles(Struct, frozen=True):
    """The files that a run left, once it has ended."""

    items: list[RunFile]


class RunMade(Struct, frozen=True):
    """The stored answer of a command on a run. `events`: how many folding events it had then."""

    run_id: str
    events: int


@post(
    "/workspaces/{workspace:str}/deployments/{slug:str}/runs",
    operation_id="RequestRun",
    status_code=202,
    opt={"needs": "write"},
    tags=["Runs"],
)
async def create_run(
    workspace: FromPath[str],
    slug: FromPath[str],
    data: JSONBody[RunRequest],
    call: NamedDependency[Call],
) -> Response[Run]:
    """Request a run of what the deployment serves, or of what it is building."""
    place = await call.open_workspace(workspace)
    wanted = NewRun(
        workspace_id=place.id,
        slug=slug,
        message=data.message,
        history=data.history,
        context=data.context,
        user_id=check_text(data.user_id, "user_id"),
        conversation_id=check_text(data.conversation_id, "conversation_id"),
    )
    made = await request_once(call, wanted)
    if made.recorded:
        found = folded(RUN, made.facts.run_id, made.recorded)
    else:
        found = await fold(call.store, RUN, made.facts.run_id, events=made.facts.events)
    return positioned(shown(found), made.position, 202)


@get(
    "/workspaces/{workspace:str}/runs",
    operation_id="ListRuns",
    opt={"needs": "read"},
    tags=["Runs"],
)
async def list_workspace_runs(
    workspace: FromPath[str],
    call: NamedDependency[Call],
    *,
    deployment: Filter = None,
    agent: Filter = None,
    status: Filter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Listed[Run]:
    """List a workspace's runs; texts are cut, and files left out."""
    place = await call.workspace(workspace)
    reads = call.shared.reads

    async def query() -> Any:
        return await list_runs(
            reads,
            place.id,
            deployment=deployment,
            agent=agent,
            status=status,
            cursor=cursor,
            limit=limit,
        )

    return await listed(call, "runs", query, listed_run)


@get("/runs/{run_id:str}", operation_id="ShowRun", opt={"needs": "read"}, tags=["Runs"])
async def show_run(run_id: FromPath[str], call: NamedDependency[Call]) -> Run:
    """Show a run."""
    return shown(await visible_run(call, run_id))


@post(
    "/runs/{run_id:str}/cancel",
    operation_id="CancelRun",
    status_code=202,
    opt={"needs": "write"},
    tags=["Runs"],
)
async def cancel_run(
    run_id: FromPath[str], call: NamedDependency[Call], data: JSONBody[Cancel | None] = None
) -> Response[Run]:
    """Ask for a run's end. One that nobody has started yet ends at once."""
    found = await visible_run(call, run_id)
    assert not isinstance(found.state, runs.Absent)
    detail = (data and data.detail) or f"Cancelled by {call.caller.name}."

    async def work(unit: Unit) -> RunMade:
        await unit.decide(RUN, run_id, CancelRun(run_id=run_id, detail=detail))
        return RunMade(run_id, await unit.length(RUN.category, run_id))

    made = await call.once(
        work,
        RunMade,
        workspace_id=found.state.request.workspace_id,
        key=stream_name(RUN.category, run_id),
    )
    found = await fold(call.store, RUN, run_id, events=made.facts.events)
    return positioned(shown(found), made.position, 202)


@get(
    "/runs/{run_id:str}/events",
    operation_id="FollowRun",
    opt={"needs": "read"},
    tags=["Runs"],
    responses=paged(LivePage),
)
async def follow_run(
    run_id: FromPath[str],
    request: Request[Any, Any, Any],
    call: NamedDependency[Call],
    *,
    after: After = 0,
    limit: EventLimit = 200,
    last_event_id: LastEventId = None,
) -> Response[Any]:
    """Page or stream what a run does, by `Accept`."""
    await visible_run(call, run_id)
    after = resume_after(after, last_event_id)
    return await live_events(call, request, stream_name(RUN.category, run_id), after, limit)


@get(
    "/runs/{run_id:str}/output",
    operation_id="ReadRunOutput",
    opt={"needs": "read"},
    tags=["Runs"],
    media_type="text/plain",
)
async def read_output(run_id: FromPath[str], call: NamedDependency[Call]) -> Response[bytes]:
    """Read the whole output, of which the run shows 64 KiB. Empty before its end."""
    state = (await visible_run(call, run_id)).state
    end = state.end if isinstance(state, runs.Ended) else None
    if end and end.output_digest:
        whole = await call.services.blobs.get(end.output_digest)
    else:
        whole = end.output.encode() if end else b""
    headers = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}
    return Response(whole, media_type="text/plain; charset=utf-8", headers=headers)


@get("/runs/{run_id:str}/files", operation_id="ListRunFiles", opt={"needs": "read"}, tags=["Runs"])
async def list_files(run_id: FromPath[str], call: NamedDependency[Call]) -> RunFiles:
    """List the files that a run left."""
    return RunFiles(files_of((await visible_run(call, run_id)).state))


@get(
    "/runs/{run_id:str}/files/{file_path:path}",
    operation_id="DownloadRunFile",
    opt={"needs": "read"},
    tags=["Runs"],
    media_type="application/octet-stream",
)
async def download_file(
    run_id: FromPath[str], file_path: FromPath[str], call: NamedDependency[Call]
) -> Stream:
    """Download one file. It is always an attachment: what an agent wrote is never rendered."""
    path = file_path.removeprefix("/")
    for file in files_of((await visible_run(call, run_id)).state):
        if file.path == path:
            name = quote(path.rsplit("/", 1)[-1])
            size = await call.services.blobs.size(file.digest)  # NotFound, while that can be said
            headers = {
                "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
                "Content-Length": str(size),
                "Content-Security-Policy": "sandbox",
                "ETag": f'"{file.digest}"',
                "X-Content-Type-Options": "nosniff",
            }
            return Stream(
                call.services.blobs.stream(file.digest),
                media_type="application/octet-stream",
                headers=headers,
            )
    raise missing("file", path)


async def request_once(call: Call, wanted: NewRun) -> Outcome[RunMade]:
    """Request a run, once per idempotency key."""
    run_id = new_id()

    async def work(unit: Unit) -> RunMade:
        unit.begin(RUN.category, run_id)
        await request_run(unit, wanted, run_id)
        return RunMade(run_id, 1)

    key = stream_name(RUN.category, run_id)
    made = await call.once(work, RunMade, workspace_id=wanted.workspace_id, key=key)
    bind_contextvars(run=made.facts.run_id)
    return made


async def visible_run(call: Call, run_id: str) -> Folded[runs.Run]:
    """Return a run that the caller may know of. Raises NotFound."""
    found = await fold(call.store, RUN, run_id)
    if isinstance(found.state, runs.Absent):
        raise missing("run", run_id)
    if not await call.sees(found.state.request.workspace_id):
        raise missing("run", run_id)
    bind_contextvars(run=run_id, workspace=found.state.request.workspace_id)
    return found


def files_of(state: runs.Run) -> list[RunFile]:
    """Return the files that a run has left so far: none before it has ended."""
    return state.end.files if isinstance(state, runs.Ended) else []
