"""Documents: resources that are declared by name. Stream `<kind>-<id>`, such as `tool-<id>`.

Absent -> Active (revised any number of times) -> Archived.
One decider for all kinds; a kind is one struct below, one line in `Spec`, and a golden file.
"""

from typing import Any, Literal

from msgspec import Struct

from domain.decider import Command, Decider, Event
from domain.errors import Conflict, NotFound

type Role = Literal["viewer", "auditor", "deployer", "admin"]
type AuthenticationType = Literal["None", "APIKey", "OAuth2"]
type Scheme = Literal["HTTP", "HTTPS"]
type Topology = Literal["External", "Internal"]
type AccessMode = Literal["Open", "Restricted", "Critical"]
type Permission = Literal["allow", "deny", "approval_required"]
type ModelVendor = Literal["openai", "anthropic", "bedrock", "ollama"]


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


class ApiKeyPlace(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a tool expects its key: a header or a query parameter, after `value_prefix`."""

    location: Literal["Header", "Query"] = "Header"
    name: str = "Authorization"
    value_prefix: str = "Bearer "


class OAuth2Client(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the gateway gets a token for a tool: client credentials (RFC 6749, 4.4).

    parameters: sent to `token_url` beside the standard ones, such as `audience`.
    """

    token_url: str
    client_id: str = ""
    scopes: list[str] = []
    parameters: dict[str, str] = {}
    authorization_url: str = ""


class Capability(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a tool can do: a method and a path, which may end in `*`.

    A tool that declares any lets nothing else through. An empty method means every method.
    """

    name: str
    method: str = ""
    path: str = "/"
    description: str = ""
    risk_tags: list[str] = []


class Tool(Struct, frozen=True, kw_only=True, tag="tool", tag_field="kind", omit_defaults=True):
    """An HTTP service that agents may call through the gateway (RunAgents contract §7.1).

    credential: reference of the API key or client secret in the vault, never the secret itself.
    serves: what the gateway itself answers instead of a service at `base_url`, if anything.
    """

    base_url: str
    description: str = ""
    auth_type: AuthenticationType = "None"
    port: int = 443
    scheme: Scheme = "HTTPS"
    api_key: ApiKeyPlace | None = None
    oauth2: OAuth2Client | None = None
    credential: str = ""
    capabilities: list[Capability] = []
    risk_tags: list[str] = []
    topology: Topology = "External"
    access_mode: AccessMode = "Open"
    serves: Literal["", "echo"] = ""


class Rule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a policy says of some calls (RunAgents contract §7.2).

    resource: a URL, which may end in `*`; empty when only tags choose.
    operations: HTTP methods in capitals; empty for all. tags: risk tags, any of which chooses.
    """

    permission: Permission
    resource: str = ""
    operations: list[str] = []
    tags: list[str] = []


class Policy(Struct, frozen=True, kw_only=True, tag="policy", tag_field="kind", omit_defaults=True):
    """Rules that an agent is bound to. `approvals`: who approves, as RunAgents' clients send it."""

    rules: list[Rule] = []
    approvals: list[dict[str, Any]] = []


class ModelProvider(
    Struct, frozen=True, kw_only=True, tag="model_provider", tag_field="kind", omit_defaults=True
):
    """Where models are: an endpoint that speaks OpenAI's or Anthropic's format.

    endpoint: base URL, such as `https://api.openai.com/v1`; empty for the vendor's own.
    credential: reference of the key in the vault.
    serves: what the gateway itself answers instead, if anything: the deterministic playground.
    """

    vendor: ModelVendor
    models: list[str]
    endpoint: str = ""
    credential: str = ""
    requests_per_minute: int = 0
    serves: Literal["", "playground"] = ""


class Registry(
    Struct, frozen=True, kw_only=True, tag="registry", tag_field="kind", omit_defaults=True
):
    """Where a workspace's private images are. host: with its port, if one is named.

    credential: reference of the password or token in the vault.
    """

    host: str
    username: str
    credential: str = ""


class SourceSnapshot(
    Struct, frozen=True, kw_only=True, tag="source_snapshot", tag_field="kind", omit_defaults=True
):
    """Source that is stored to be deployed later; `files` as in SourceDefinition."""

    files: dict[str, str]


type Spec = ApiKey | Tool | Policy | ModelProvider | Registry | SourceSnapshot


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
POLICY = document_decider("policy")
MODEL_PROVIDER = document_decider("model_provider")
REGISTRY = document_decider("registry")
SOURCE_SNAPSHOT = document_decider("source_snapshot")
