"""Documents by their names in a workspace: found, declared and deleted within one unit."""

from collections.abc import Callable

from msgspec import Struct

from domain import catalog
from domain.catalog import (
    Active,
    ApplyDocument,
    ArchiveDocument,
    Document,
    DocumentCommand,
    DocumentEvent,
    ModelProvider,
    Policy,
    Registry,
    SourceSnapshot,
    Spec,
    Tool,
)
from domain.decider import Decider
from domain.errors import NotFound
from domain.handling import Unit


class Kind[S: Spec](Struct, frozen=True):
    """A kind of document that has a name in a workspace.

    noun: how people call it. Names are reserved under the category of its streams.
    """

    spec: type[S]
    decider: Decider[DocumentCommand, Document, DocumentEvent]
    noun: str

    @property
    def name(self) -> str:
        """The kind's own name: category of its streams, and kind of its reservations."""
        return self.decider.category


TOOLS = Kind(Tool, catalog.TOOL, "tool")
POLICIES = Kind(Policy, catalog.POLICY, "policy")
MODEL_PROVIDERS = Kind(ModelProvider, catalog.MODEL_PROVIDER, "model provider")
REGISTRIES = Kind(Registry, catalog.REGISTRY, "registry")
SNAPSHOTS = Kind(SourceSnapshot, catalog.SOURCE_SNAPSHOT, "workflow artifact")


class Applied[S: Spec](Struct, frozen=True, kw_only=True):
    """What declaring a document led to. `before`: what the name meant until then."""

    document_id: str
    revision: int
    spec: S
    before: S | None

    @property
    def dropped(self) -> str:
        """The reference of the secret that it named before and does not now; empty if none."""
        before = credential_of(self.before) if self.before else ""
        return before if before != credential_of(self.spec) else ""


async def find_document[S: Spec](
    unit: Unit, kind: Kind[S], workspace_id: str, name: str
) -> tuple[str, Active] | None:
    """Return the id and the document that a name stands for."""
    id = await unit.resolve(workspace_id, kind.name, name)
    document = await unit.state(kind.decider, id) if id else None
    return (id, document) if id and isinstance(document, Active) else None


async def apply_document[S: Spec](
    unit: Unit,
    kind: Kind[S],
    workspace_id: str,
    name: str,
    spec_of: Callable[[S | None], S],
    *,
    new_id: Callable[[], str],
) -> Applied[S]:
    """Declare a document; `spec_of` makes it of what the name meant before.

    One that was deleted meanwhile is declared anew, under another id.
    """
    found = await find_document(unit, kind, workspace_id, name)
    id, document = found or (new_id(), None)
    before = spec_in(kind, document) if document else None
    spec = spec_of(before)
    apply = ApplyDocument(document_id=id, scope=workspace_id, name=name, spec=spec)
    changed = await unit.decide(kind.decider, id, apply)
    if document is None:
        unit.reserve(workspace_id, kind.name, name, id)
    revision = (document.revision if document else 0) + len(changed)
    return Applied(document_id=id, revision=revision, spec=spec, before=before)


async def delete_document[S: Spec](unit: Unit, kind: Kind[S], workspace_id: str, name: str) -> S:
    """Archive a document and give its name back; returns what it was. Raises NotFound."""
    found = await find_document(unit, kind, workspace_id, name)
    if found is None:
        raise NotFound(f"There is no {kind.noun} {name[:100]!r} in this workspace.")
    id, document = found
    await unit.decide(kind.decider, id, ArchiveDocument(document_id=id))
    unit.reserve(workspace_id, kind.name, name, "")
    return spec_in(kind, document)


def credential_of(spec: Spec) -> str:
    """Return the reference of a document's secret, empty if it names none."""
    return spec.credential if isinstance(spec, Tool | ModelProvider | Registry) else ""


def spec_in[S: Spec](kind: Kind[S], document: Active) -> S:
    """Return the spec of a document that was found under this kind."""
    assert isinstance(document.spec, kind.spec)
    return document.spec
