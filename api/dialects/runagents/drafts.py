"""Deploy drafts: /api/deploy-drafts (contract §8), and what a deploy takes from one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Annotated, Any

from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from api.calls import Call, Outcome
from api.dialects.runagents.bodies import DeployBody
from api.dialects.runagents.documents import DELETED, answer
from api.dialects.runagents.draft_bodies import (
    DraftBody,
    DraftChange,
    DraftEnd,
    content_of,
    draft_body,
    fields_of,
    filled_in,
)
from api.dialects.runagents.namespaces import open_place_of, place_of
from api.documents import PAGE
from api.folding import fold, is_id, missing
from api.paging import caught_up
from api.tenancy import Place
from api.times import stamp
from domain.drafts import (
    DRAFT,
    AbandonDraft,
    Archived,
    ArchiveDraft,
    CompleteDraft,
    CreateDraft,
    Draft,
    DraftCommand,
    DraftHasEnded,
    Ended,
    InProgress,
    ReviseDraft,
)
from domain.errors import Malformed, NotFound
from domain.handling import Unit
from domain.ids import new_id, stream_name
from projections.drafts import DraftRow, list_drafts

NOUN = "deploy draft"

# A text, empty where it is left out: for a number that may be, Litestar takes `null` as well.
ExpectedVersion = Annotated[str, QueryParameter(pattern="^([1-9][0-9]{0,15})?$")]


class DraftChanged(Struct, frozen=True):
    """The stored answer of a change. `version`: the one that it led to."""

    draft_id: str
    version: int


# Any: as in agents.py.
@get("/deploy-drafts", opt={"needs": "read"})
async def list_deploy_drafts(
    request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> list[dict[str, Any]]:
    """List all drafts of the workspace, as a bare array."""
    place = await place_of(call, request)
    return [_shown(each, place) async for each in _every(call, place)]


@post("/deploy-drafts", status_code=201, opt={"needs": "write"})
async def create_draft(
    request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Response[Any]:
    """Begin a draft, of which everything may be said later."""
    content = content_of(draft_body(await request.body(), DraftBody))
    place = await open_place_of(call, request)
    id = new_id()
    create = CreateDraft(draft_id=id, workspace_id=place.id, content=content)

    async def work(unit: Unit) -> DraftChanged:
        unit.begin(DRAFT.category, id)
        await unit.decide(DRAFT, id, create)
        return DraftChanged(id, 1)

    key = stream_name(DRAFT.category, id)
    made = await call.once(work, DraftChanged, workspace_id=place.id, key=key)
    return await _answer(call, place, made, 201)


@get("/deploy-drafts/{draft_id:str}", opt={"needs": "read"})
async def show_draft(
    draft_id: FromPath[str], request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> dict[str, Any]:
    """Show one draft."""
    place = await place_of(call, request)
    return _shown(await _find(call, place, draft_id), place)


@patch("/deploy-drafts/{draft_id:str}", opt={"needs": "write"})
async def change_draft(
    draft_id: FromPath[str], request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Response[Any]:
    """Change what the body names, and leave the rest."""
    body = draft_body(await request.body(), DraftChange)
    changes, expected = content_of(body), body.expected_version
    revise = ReviseDraft(draft_id=draft_id, changes=changes, expected_version=expected)
    place = await open_place_of(call, request)
    return await _answer(call, place, await _changed(call, place, draft_id, revise), 200)


@post("/deploy-drafts/{draft_id:str}/complete", status_code=200, opt={"needs": "write"})
async def complete_draft(
    draft_id: FromPath[str], request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Response[Any]:
    """Be done with a draft without deploying it; a deploy completes it by itself."""
    return await _ended(call, request, draft_id, CompleteDraft)


@post("/deploy-drafts/{draft_id:str}/abandon", status_code=200, opt={"needs": "write"})
async def abandon_draft(
    draft_id: FromPath[str], request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Response[Any]:
    """Give a draft up."""
    return await _ended(call, request, draft_id, AbandonDraft)


@delete("/deploy-drafts/{draft_id:str}", status_code=200, opt={"needs": "write"})
async def delete_draft(
    draft_id: FromPath[str],
    request: Request[Any, Any, Any],
    call: NamedDependency[Call],
    expected_version: ExpectedVersion = "",
) -> Mapping[str, str]:
    """Delete a draft, also one that has ended."""
    expected = int(expected_version) if expected_version else None
    archive = ArchiveDraft(draft_id=draft_id, expected_version=expected)
    await _changed(call, await place_of(call, request), draft_id, archive)
    return DELETED


class Drafted(Struct, frozen=True):
    """A deploy of a draft. body: with what it left out. completes: what the deploy does to it."""

    body: DeployBody
    completes: Callable[[Unit, str], Awaitable[CompleteDraft]]


async def drafted(call: Call, place: Place, body: DeployBody) -> Drafted:
    """Return a deploy with what it leaves out taken from the draft that it names.

    Whether the draft may still be deployed is decided with the deploy, in the same unit: a request
    that is sent again is answered as it was. Raises NotFound, and Malformed naming the field.
    """
    id = body.draft_id or ""
    last = _last((await fold(call.store, DRAFT, id)).state)
    if last is None or last.workspace_id != place.id:
        raise _not_found(id)
    try:
        filled = filled_in(body, last.content)
    except Malformed:
        if isinstance(last, Ended):  # what is missing cannot be said any more
            raise DraftHasEnded(id, last.how, last.agent_name) from None
        raise

    async def completes(unit: Unit, agent_name: str) -> CompleteDraft:
        if isinstance(await unit.state(DRAFT, id), Archived):
            raise _not_found(id)
        return CompleteDraft(draft_id=id, agent_name=agent_name, expected_version=last.version)

    return Drafted(filled, completes)


def _not_found(id: str) -> NotFound:
    return NotFound(f"draft_id: deploy draft {id[:100]!r} was not found", field="draft_id")


def _last(draft: Draft) -> InProgress | Ended | None:
    match draft:
        case InProgress() | Ended():
            return draft
        case Archived(last=last):
            return last
        case _:
            return None


async def _ended(
    call: Call,
    request: Request[Any, Any, Any],
    draft_id: str,
    kind: type[CompleteDraft | AbandonDraft],
) -> Response[Any]:
    expected = draft_body(await request.body(), DraftEnd).expected_version
    place = await open_place_of(call, request)
    end = kind(draft_id=draft_id, expected_version=expected)
    return await _answer(call, place, await _changed(call, place, draft_id, end), 200)


async def _changed(
    call: Call, place: Place, id: str, command: DraftCommand
) -> Outcome[DraftChanged]:
    """Decide on a draft of this workspace. Raises NotFound and what its decider raises."""
    if not is_id(id):
        raise missing(NOUN, id)

    async def work(unit: Unit) -> DraftChanged:
        last = _last(await unit.state(DRAFT, id))
        if last is None or last.workspace_id != place.id:
            raise missing(NOUN, id)
        await unit.decide(DRAFT, id, command)
        return DraftChanged(id, await unit.length(DRAFT.category, id))

    key = stream_name(DRAFT.category, id)
    return await call.once(work, DraftChanged, workspace_id=place.id, key=key)


async def _find(call: Call, place: Place, id: str, version: int | None = None) -> DraftRow:
    """Return a draft now, or as it was at a version. Raises NotFound."""
    found = await fold(call.store, DRAFT, id, events=version)
    draft = found.state
    if not isinstance(draft, InProgress | Ended) or draft.workspace_id != place.id:
        raise missing(NOUN, id)
    ended = draft if isinstance(draft, Ended) else None
    return DraftRow(
        id=id,
        workspace_id=draft.workspace_id,
        status=ended.how if ended else "in_progress",
        version=draft.version,
        content=draft.content,
        deployed_as=ended.agent_name if ended else "",
        created_at=found.head.events[0].at,
        updated_at=found.head.events[-1].at,
    )


async def _every(call: Call, place: Place) -> AsyncIterator[DraftRow]:
    """Yield all drafts, newest first, the caller's own last change included."""
    await caught_up(call, "drafts")
    cursor: str | None = None
    while True:
        page = await list_drafts(call.shared.reads, place.id, cursor=cursor, limit=PAGE)
        for row in page.items:
            yield row
        cursor = page.next_cursor
        if cursor is None:
            return


def _shown(draft: DraftRow, place: Place) -> dict[str, Any]:
    return {
        "id": draft.id,
        "namespace": place.slug,
        "status": draft.status.upper(),
        "version": draft.version,
        **fields_of(draft.content),
        **({"deployed_as": draft.deployed_as} if draft.deployed_as else {}),
        "created_at": stamp(draft.created_at),
        "updated_at": stamp(draft.updated_at),
    }


async def _answer(
    call: Call, place: Place, made: Outcome[DraftChanged], status: int
) -> Response[Any]:
    found = await _find(call, place, made.facts.draft_id, made.facts.version)
    return answer(_shown(found, place), made, status)
