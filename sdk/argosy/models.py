"""What the server answers, typed. Lenient: fields that a newer server adds are ignored.

Times are UTC; None where the thing has not happened yet.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct, field

T = TypeVar("T")


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list. `next_cursor` None: no more. `position`: the log's when it was read."""

    items: list[T]
    next_cursor: str | None = None
    position: int | None = None


class Who(Struct, frozen=True, kw_only=True):
    """The key that asks. `workspace`: the only one it sees, None for all."""

    key_id: str
    name: str
    role: str
    organization_id: str
    workspace: str | None = None


class Workspace(Struct, frozen=True, kw_only=True):
    """A workspace, by id or slug."""

    id: str
    slug: str
    name: str = ""
    status: str = ""
    created_at: datetime | None = None


class Key(Struct, frozen=True, kw_only=True):
    """An API key. `key` is the secret: only in the answer that made it, and never printed."""

    id: str
    name: str
    role: str
    workspace: str | None = None
    prefix: str = ""
    last4: str = ""
    status: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None
    key: str | None = None

    def __repr__(self) -> str:
        return f"Key(id={self.id!r}, name={self.name!r}, role={self.role!r})"


class AgentVersion(Struct, frozen=True, kw_only=True):
    """One numbered version. `reason`: why `mode` was chosen; `detail`: why it failed.

    image_uri: the version as a container image, None if there is none.
    """

    version: int
    status: str
    mode: str = ""
    reason: str = ""
    detail: str = ""
    definition: dict[str, Any] = {}
    image_uri: str | None = None


class Agent(Struct, frozen=True, kw_only=True):
    """An agent and its versions."""

    id: str
    name: str
    workspace_id: str
    status: str
    latest_version: int | None = None
    versions: list[AgentVersion] = []
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Revision(Struct, frozen=True, kw_only=True):
    """One change of a deployment. `detail`: why it failed.

    rolled_back_to: the revision whose version and settings it repeats, None for a deploy.
    """

    revision: int
    status: str
    agent_version: int | None = None
    build_id: str | None = None
    detail: str = ""
    rolled_back_to: int | None = None
    settings: dict[str, Any] = {}


class Deployment(Struct, frozen=True, kw_only=True):
    """An endpoint. `serving`: the revision that takes runs, None while there is none."""

    id: str
    slug: str
    workspace_id: str
    status: str
    agent_id: str = ""
    agent_name: str = ""
    serving: int | None = None
    revisions: list[Revision] = []
    endpoint: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def revision(self, number: int) -> Revision | None:
        """Return one revision, None if there is no such one."""
        return next((each for each in self.revisions if each.revision == number), None)


class RolledBack(Struct, frozen=True, kw_only=True):
    """What a rollback led to: a new `revision` with the version and settings of an earlier one."""

    deployment: Deployment
    revision: int
    rolled_back_to: int
    version: int


class Deployed(Struct, frozen=True, kw_only=True):
    """What a deploy led to. `build_id` None: there is nothing to build.

    image_uri: the version as a container image, once it is built; None if there will be none.
    """

    deployment: Deployment
    agent_id: str
    version: int
    revision: int
    build_id: str | None = None
    execution_mode: str = ""
    build_required: bool = False
    build_profile: str = ""
    decision_reason: str = ""
    endpoint: str = ""
    image_uri: str | None = None


class Preview(Struct, frozen=True, kw_only=True):
    """What a deploy would do. unchanged: nothing, as `version` and `revision` are there already."""

    name: str
    version: int
    revision: int
    unchanged: bool = False
    execution_mode: str = ""
    build_required: bool = False
    build_profile: str = ""
    decision_reason: str = ""


class Tool(Struct, frozen=True, kw_only=True):
    """A tool. address: what is called. lacks: what it still needs, as a sentence.

    Of its credential only whether it has one can be read.
    """

    id: str
    name: str
    workspace_id: str
    revision: int
    base_url: str
    address: str = ""
    description: str = ""
    auth_type: str = "None"
    port: int = 0
    api_key: dict[str, Any] | None = None
    oauth2: dict[str, Any] | None = None
    has_credential: bool = False
    capabilities: list[dict[str, Any]] = []
    risk_tags: list[str] = []
    topology: str = ""
    access_mode: str = ""
    lacks: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Policy(Struct, frozen=True, kw_only=True):
    """A policy. used_by: the agents whose newest revision is bound to it."""

    id: str
    name: str
    workspace_id: str
    revision: int
    rules: list[dict[str, Any]] = []
    approvals: list[dict[str, Any]] = []
    used_by: list[str] = []
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Registry(Struct, frozen=True, kw_only=True):
    """What a workspace signs in to a registry of images with. `lacks`: what it still needs."""

    id: str
    name: str
    workspace_id: str = ""
    revision: int = 0
    host: str = ""
    username: str = ""
    has_credential: bool = False
    lacks: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


class ModelProvider(Struct, frozen=True, kw_only=True):
    """A model provider. Of its key only whether it has one can be read."""

    id: str
    name: str
    workspace_id: str
    revision: int
    vendor: str
    models: list[str] = []
    endpoint: str = ""
    has_credential: bool = False
    requests_per_minute: int = 0
    lacks: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


class StarterKit(Struct, frozen=True, kw_only=True):
    """The names in the starter kit; `created` are those that were not there before."""

    tool: str
    model_provider: str
    policy: str
    created: list[str] = []


class BuildStep(Struct, frozen=True, kw_only=True):
    """One step of a build. cached: its result was there already."""

    name: str
    milliseconds: float = 0.0
    cached: bool = False


class Build(Struct, frozen=True, kw_only=True):
    """A build. A failed one says where (`step`), what (`detail`) and what to do (`hint`).

    steps: of one that has ended; lists leave them out.
    """

    id: str
    workspace_id: str
    status: str
    agent_id: str = ""
    agent_name: str = ""
    version: int | None = None
    deployment_id: str = ""
    revision: int | None = None
    mode: str = ""
    plan: dict[str, Any] | None = None
    step: str = ""
    detail: str = ""
    hint: str = ""
    attempt: int = 0
    created_at: datetime | None = None
    ended_at: datetime | None = None
    steps: list[BuildStep] = []


class RunFile(Struct, frozen=True, kw_only=True):
    """A file that a run left; `size` in bytes."""

    path: str
    digest: str = ""
    size: int = 0


class Usage(Struct, frozen=True, kw_only=True):
    """What a run used."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0


ENDED = frozenset({"completed", "failed", "cancelled"})


class Run(Struct, frozen=True, kw_only=True):
    """A run. `reason` and `detail` say why it failed; `version` is its stream's.

    output: cut at 64 KiB if there is an `output_digest`; `runs.whole` reads the rest.
    extra: what the agent returned beside its answer.
    stages: milliseconds from the claim until each stage of its start was done.
    warm: its sandbox had been opened before.
    """

    id: str
    workspace_id: str
    status: str
    agent_id: str = ""
    agent_name: str = ""
    deployment_id: str = ""
    slug: str = ""
    revision: int | None = None
    reason: str = ""
    detail: str = ""
    message: str = ""
    output: str = ""
    output_digest: str = ""
    extra: dict[str, Any] = {}
    exit_code: int | None = None
    files: list[RunFile] = []
    usage: Usage = field(default_factory=Usage)
    stages: dict[str, float] = {}
    warm: bool = False
    attempt: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    version: int = 0

    @property
    def ended(self) -> bool:
        """Whether it has ended, however it did."""
        return self.status in ENDED


class LiveEvent(Struct, frozen=True, kw_only=True):
    """Something a run or build did. `complete` is the last one.

    version: its place in the stream, from 1, without gaps; None for a delta, which is never stored.
    data: the other fields, which depend on `type`.
    """

    type: str
    version: int | None = None
    at: datetime | None = None
    data: dict[str, Any] = {}

    @property
    def last(self) -> bool:
        """Whether nothing comes after it."""
        return self.type == "complete"

    def plain(self) -> dict[str, Any]:
        """Return it as the server sent it."""
        known = {"type": self.type, "version": self.version, "at": self.at}
        return {name: value for name, value in known.items() if value is not None} | self.data


def live_event(sent: Mapping[str, Any]) -> LiveEvent:
    """Return the event for an object as the server sends it. Raises msgspec.ValidationError."""
    known = {name: sent[name] for name in ("type", "version", "at") if name in sent}
    rest = {name: value for name, value in sent.items() if name not in known}
    return msgspec.convert({**known, "data": rest}, LiveEvent)


class Recorded(Struct, frozen=True, kw_only=True):
    """A stored event with its envelope. `position` None: an entry, which is not in the log."""

    stream: str
    version: int
    type: str
    position: int | None = None
    schema_version: int = 1
    at: datetime | None = None
    actor: str = ""
    workspace_id: str = ""
    command_id: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    data: dict[str, Any] = {}


class Replay(Struct, frozen=True, kw_only=True):
    """A stream as it stood at `version`: its events up to there, and the state they fold to."""

    stream: str
    version: int
    folding_version: int = 0
    events: list[Recorded] = []
    state: dict[str, Any] = {}
