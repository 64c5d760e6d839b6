"""Documents that have a name in a workspace: tools, policies, model providers.

Whole, but for their credentials: of those only whether there is one.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace

from domain.catalog import (
    DocumentApplied,
    DocumentArchived,
    DocumentRevised,
    ModelProvider,
    Registry,
    Spec,
    Tool,
)
from domain.decider import Recorded
from domain.documents import MODEL_PROVIDERS, POLICIES, REGISTRIES, SNAPSHOTS, TOOLS, Kind
from domain.ids import split_stream
from projections.projection import (
    Insert,
    Projection,
    Statement,
    Update,
    moment,
    number,
    read_model,
    text,
)
from projections.reads import Page, ReadModels

KINDS = frozenset(kind.name for kind in (TOOLS, POLICIES, MODEL_PROVIDERS, REGISTRIES, SNAPSHOTS))


class DocumentRow[S](Struct, frozen=True, kw_only=True):
    """A document in a list. `spec`: without its credential."""

    id: str
    workspace_id: str
    name: str
    status: Literal["active", "archived"]
    revision: int
    spec: S
    has_credential: bool
    created_at: datetime
    updated_at: datetime


def table(name: str) -> sa.Table:
    """Make the read model's table."""
    return read_model(
        name,
        text("workspace_id"),
        text("kind"),
        text("name"),
        text("status"),
        number("revision"),
        text("spec"),
        number("has_credential"),
        moment("created_at"),
        moment("updated_at"),
        lists=[("workspace_id", "kind")],
    )


def project(recorded: Recorded[Any]) -> Iterable[Statement]:
    """Return what an event means for the table."""
    event, at = recorded.event, recorded.at
    kind = split_stream(recorded.stream)[0]
    if kind not in KINDS:
        return
    match event:
        case DocumentApplied(document_id=id, scope=scope, name=name, spec=spec):
            first = {
                "position": recorded.position,
                "workspace_id": scope,
                "kind": kind,
                "name": name,
                "status": "active",
                "revision": 1,
                "created_at": at,
                "updated_at": at,
            }
            yield Insert(id, {**first, **_shown(spec)})
        case DocumentRevised(document_id=id, revision=revision, spec=spec):
            yield Update(id, {"revision": revision, "updated_at": at, **_shown(spec)})
        case DocumentArchived(document_id=id):
            yield Update(id, {"status": "archived", "updated_at": at})
        case _:
            pass


def _shown(spec: Spec) -> dict[str, Any]:
    bare, has_credential = without_credential(spec)
    return {"spec": msgspec.json.encode(bare).decode(), "has_credential": int(has_credential)}


def without_credential[S: Spec](spec: S) -> tuple[S, bool]:
    """Return a spec without the reference of its secret, and whether it had one."""
    if isinstance(spec, Tool | ModelProvider | Registry):
        return replace(spec, credential=""), bool(spec.credential)
    return spec, False


DOCUMENTS = Projection(
    name="documents",
    version=3,
    handles=(DocumentApplied, DocumentRevised, DocumentArchived),
    table=table,
    project=project,
)


async def list_documents[S: Spec](
    reads: ReadModels,
    kind: Kind[S],
    workspace_id: str,
    *,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[DocumentRow[S]]:
    """Return a workspace's documents of one kind, newest first. Raises Invalid for a bad cursor."""

    def narrow(documents: sa.FromClause) -> Iterable[sa.ColumnElement[bool]]:
        yield documents.c.workspace_id == workspace_id
        yield documents.c.kind == kind.name
        yield documents.c.status == "active"

    def row(found: dict[str, Any]) -> DocumentRow[S]:
        return DocumentRow(
            id=found["id"],
            workspace_id=found["workspace_id"],
            name=found["name"],
            status=found["status"],
            revision=found["revision"],
            spec=msgspec.json.decode(found["spec"], type=kind.spec),
            has_credential=bool(found["has_credential"]),
            created_at=found["created_at"],
            updated_at=found["updated_at"],
        )

    return await reads.page(DOCUMENTS, narrow, row, cursor=cursor, limit=limit)
