"""What tools, policies and model providers have in common: declared, shown, listed, deleted."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from litestar import Response
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from api.calls import Call, Outcome, positioned
from api.credentials import check_secret, credentials_of
from api.folding import fold, missing
from api.paging import Listed, caught_up, listed
from api.tenancy import Place
from api.times import stamp
from domain.catalog import Active, Spec
from domain.documents import Kind, apply_document, credential_of, delete_document, spec_in
from domain.handling import Unit
from domain.ids import new_id
from domain.sources import check_name
from projections.documents import DocumentRow, list_documents, without_credential
from projections.reads import Page

PAGE = 200


class DocumentMade(Struct, frozen=True):
    """The stored answer of a declaration. `dropped`: reference of a secret it no longer names."""

    document_id: str
    revision: int
    created: bool
    dropped: str = ""


class Shown[S](Struct, frozen=True, kw_only=True):
    """A document as clients may see it: without the reference of its secret."""

    id: str
    name: str
    workspace_id: str
    revision: int
    spec: S
    has_credential: bool
    created_at: str
    updated_at: str


async def apply_once[S: Spec](
    call: Call,
    place: Place,
    kind: Kind[S],
    name: str,
    spec_of: Callable[[S | None, str | None], S],
    *,
    secret: str | None = None,
) -> Outcome[DocumentMade]:
    """Declare a document, once per idempotency key.

    spec_of: makes it of what there was, and of the secret's reference (None: keep the old one).
    secret: None for none given, empty to have none.
    """
    credentials = credentials_of(call, place.id)

    async def with_reference(reference: str | None) -> Outcome[DocumentMade]:
        async def work(unit: Unit) -> DocumentMade:
            applied = await apply_document(
                unit,
                kind,
                place.id,
                name,
                lambda current: spec_of(current, reference),
                new_id=new_id,
            )
            return DocumentMade(
                applied.document_id, applied.revision, applied.before is None, applied.dropped
            )

        key = f"{kind.name} {place.id} {name}"
        return await call.once(work, DocumentMade, workspace_id=place.id, key=key)

    made = await credentials.kept(secret, with_reference)
    await credentials.release(made.facts.dropped)
    return made


async def declare[S: Spec, V](
    call: Call,
    place: Place,
    kind: Kind[S],
    name: str,
    spec_of: Callable[[S | None, str | None], S],
    *,
    view: Callable[[Shown[S]], V],
    secret: str | None = None,
) -> Response[V]:
    """As `apply_once`, and answer: 201 where the name was free, else 200."""
    check_name(name, field="name")
    if secret:
        check_secret(secret, field="credential")
    made = await apply_once(call, place, kind, name, spec_of, secret=secret)
    facts = made.facts
    found = await find_by_id(call, kind, facts.document_id, name, revision=facts.revision)
    return positioned(view(found), made.position, 201 if facts.created else 200)


def declaring(kind: type[Struct]) -> dict[int, ResponseSpec]:
    """Return what the document says of declaring, beside the 200."""
    return {201: ResponseSpec(kind, generate_examples=False, description="The name was free.")}


async def delete_named[S: Spec](call: Call, place: Place, kind: Kind[S], name: str) -> None:
    """Delete a document, and its secret. Raises NotFound."""
    _possible(kind, name)

    async def work(unit: Unit) -> S:
        return await delete_document(unit, kind, place.id, name)

    key = f"{kind.name} {place.id} {name}"
    done = await call.services.commands.run(work, call.meta(place.id), key=key)
    await credentials_of(call, place.id).release(credential_of(done.value))


async def find[S: Spec](
    call: Call, place: Place, kind: Kind[S], name: str, *, revision: int | None = None
) -> Shown[S]:
    """Return a document by its name, now or as it was at a revision. Raises NotFound."""
    _possible(kind, name)
    id = await call.store.resolve(place.id, kind.name, name)
    return await find_by_id(call, kind, id or "", name, revision=revision)


async def find_by_id[S: Spec](
    call: Call, kind: Kind[S], id: str, name: str, *, revision: int | None = None
) -> Shown[S]:
    """Return a document by its id; `name` is for the refusal. Raises NotFound."""
    found = await fold(call.store, kind.decider, id, events=revision)
    if not isinstance(found.state, Active):
        raise missing(kind.noun, name)
    spec, has_credential = without_credential(spec_in(kind, found.state))
    return Shown(
        id=id,
        name=found.state.name,
        workspace_id=found.state.scope,
        revision=found.state.revision,
        spec=spec,
        has_credential=has_credential,
        created_at=found.created_at,
        updated_at=found.updated_at,
    )


async def list_page[S: Spec, V](
    call: Call,
    place: Place,
    kind: Kind[S],
    view: Callable[[Shown[S]], V],
    *,
    cursor: str | None,
    limit: int,
) -> Listed[V]:
    """Return one page of a workspace's documents."""
    reads = call.shared.reads

    async def query() -> Page[DocumentRow[S]]:
        return await list_documents(reads, kind, place.id, cursor=cursor, limit=limit)

    return await listed(call, "documents", query, lambda row: view(_of_row(row)))


async def every[S: Spec](call: Call, place: Place, kind: Kind[S]) -> AsyncIterator[Shown[S]]:
    """Yield all documents of a kind, newest first, the caller's own last write included."""
    await caught_up(call, "documents")
    cursor: str | None = None
    while True:
        page = await list_documents(call.shared.reads, kind, place.id, cursor=cursor, limit=PAGE)
        for row in page.items:
            yield _of_row(row)
        cursor = page.next_cursor
        if cursor is None:
            return


def _of_row[S](row: DocumentRow[S]) -> Shown[S]:
    return Shown(
        id=row.id,
        name=row.name,
        workspace_id=row.workspace_id,
        revision=row.revision,
        spec=row.spec,
        has_credential=row.has_credential,
        created_at=stamp(row.created_at),
        updated_at=stamp(row.updated_at),
    )


def recast[T](struct: Struct, type: type[T]) -> T:
    """Return the same fields as another struct: a body's as a spec's, or the other way."""
    return msgspec.convert(msgspec.to_builtins(struct), type)


def as_named(field: str) -> str:
    """Return what the native bodies call a field: what it is called inside."""
    return field


def _possible(kind: Kind[Any], name: str) -> None:
    if not (name.isascii() and name.isprintable()):
        raise missing(kind.noun, name)
