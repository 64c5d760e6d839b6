"""Documents: resources that are declared by name. Stream `<kind>-<id>`, such as `tool-<id>`.

Absent -> Active (revised any number of times) -> Archived.
One decider for all kinds; a kind is one struct below, one line in `Spec`, and a golden file.
"""

from typing import Literal

from msgspec import Struct

from domain.decider import Command, Decider, Event
from domain.errors import Conflict, NotFound

type Role = Literal["viewer", "auditor", "deployer", "admin"]
type AuthenticationType = Literal["None", "APIKey", "OAuth2"]
type Scheme = Literal["HTTP", "HTTPS"]


class ApiKey(Struct, frozen=True, kw_only=True, tag="api_key", tag_field="kind"):
    """A caller's credential. Only its SHA-256 is stored; `prefix` and `last4` are for people.

    workspace_id: the only workspace it can see; empty for all of the organization's.
    expires_at: seconds since 1970, 0 for never.
    """

    organization_id: str
    digest: str
    prefix: str
    last4: str
    role: Role
    workspace_id: str = ""
    expires_at: float = 0.0


class Tool(Struct, frozen=True, kw_only=True, tag="tool", tag_field="kind"):
    """An HTTP service that agents may call through the gateway (RunAgents contract §7.1)."""

    base_url: str
    description: str = ""
    auth_type: AuthenticationType = "None"
    port: int = 443
    scheme: Scheme = "HTTPS"


type Spec = ApiKey | Tool


def kind_of(spec: Spec) -> str:
    """Return the kind, which is also the category of the document's stream."""
    tag = spec.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


class DocumentApplied(Event, tag="document.applied"):
    """It was declared for the first time. `scope`: the workspace or organization it is named in."""

    document_id: str
    scope: str
    name: str
    spec: Spec


class DocumentRevised(Event, tag="document.revised"):
    """It was declared again, differently. Revisions count from 1 with the first declaration."""

    document_id: str
    revision: int
    spec: Spec


class DocumentArchived(Event, tag="document.archived"):
    """It was deleted or revoked; its name is free again."""

    document_id: str


type DocumentEvent = DocumentApplied | DocumentRevised | DocumentArchived


class Absent(Struct, frozen=True):
    """Nothing was declared under this id."""


class Active(Struct, frozen=True):
    """Declared, and in use."""

    scope: str
    name: str
    spec: Spec
    revision: int = 1


class Archived(Struct, frozen=True):
    """Gone; `last` is what it was."""

    last: Active


type Document = Absent | Active | Archived


def evolve(document: Document, event: DocumentEvent) -> Document:
    """Fold one event."""
    match event, document:
        case DocumentApplied(scope=scope, name=name, spec=spec), _:
            return Active(scope, name, spec)
        case DocumentRevised(revision=revision, spec=spec), Active(scope=scope, name=name):
            return Active(scope, name, spec, revision)
        case DocumentArchived(), Active():
            return Archived(document)
        case _:
            return document


class ApplyDocument(Command):
    """Declare it: creates it, revises it, or changes nothing when nothing differs."""

    document_id: str
    scope: str
    name: str
    spec: Spec


class ArchiveDocument(Command):
    """Delete or revoke it; asking twice changes nothing."""

    document_id: str


type DocumentCommand = ApplyDocument | ArchiveDocument


def decide(command: DocumentCommand, document: Document) -> list[DocumentEvent]:
    """Return what happens, or refuse."""
    match command, document:
        case ApplyDocument(document_id=id, scope=scope, name=name, spec=spec), Absent():
            return [DocumentApplied(document_id=id, scope=scope, name=name, spec=spec)]
        case ApplyDocument(spec=spec), Active(spec=current) if spec == current:
            return []
        case ApplyDocument(document_id=id, spec=spec), Active(spec=current, revision=revision):
            if kind_of(spec) != kind_of(current):
                raise Conflict(f"{document.name} is a {kind_of(current)}, not a {kind_of(spec)}.")
            return [DocumentRevised(document_id=id, revision=revision + 1, spec=spec)]
        case ApplyDocument(document_id=id), Archived():
            raise Conflict(f"Document {id} was deleted; declare it under a new id.", document=id)
        case ArchiveDocument(document_id=id), Absent():
            raise NotFound(f"There is no document {id}.")
        case ArchiveDocument(document_id=id), Active():
            return [DocumentArchived(document_id=id)]
        case ArchiveDocument(), Archived():
            return []


def document_decider(kind: str) -> Decider[DocumentCommand, Document, DocumentEvent]:
    """Return the decider of one kind; they differ in the name of their streams only."""
    return Decider(kind, Absent(), evolve, decide)


API_KEY = document_decider("api_key")
TOOL = document_decider("tool")
