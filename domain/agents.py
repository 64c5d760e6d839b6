"""An agent: a named thing that can be deployed, with numbered immutable versions.

Stream `agent-<id>`. Absent -> Active -> Archived; each version: draft -> ready | failed.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from domain.decider import Command, Decider, Event
from domain.errors import Conflict, NotFound
from domain.execution import Artifact, Definition, Mode

type VersionStatus = Literal["draft", "ready", "failed"]


class AgentCreated(Event, tag="agent.created"):
    """`name` is unique in the workspace and never changes."""

    agent_id: str
    workspace_id: str
    name: str


class AgentVersionDrafted(Event, tag="agent.version_drafted"):
    """Versions count from 1. `mode` is provisional until the build worker has confirmed it."""

    agent_id: str
    version: int
    definition: Definition
    mode: Mode
    reason: str


class AgentVersionReady(Event, tag="agent.version_ready"):
    """The version can run; `artifact` is None for configurations."""

    agent_id: str
    version: int
    artifact: Artifact | None = None


class AgentVersionFailed(Event, tag="agent.version_failed"):
    """It could not be built; `detail` is what the build said."""

    agent_id: str
    version: int
    detail: str


class AgentArchived(Event, tag="agent.archived"):
    """It was deleted; its name is free again, its history stays."""

    agent_id: str


type AgentEvent = (
    AgentCreated | AgentVersionDrafted | AgentVersionReady | AgentVersionFailed | AgentArchived
)


class Version(Struct, frozen=True):
    """One version; `artifact` once it is ready."""

    definition: Definition
    mode: Mode
    reason: str
    status: VersionStatus = "draft"
    artifact: Artifact | None = None
    detail: str = ""


class Absent(Struct, frozen=True):
    """Nothing was created under this id."""


class Active(Struct, frozen=True):
    """`versions` by number."""

    workspace_id: str
    name: str
    versions: Mapping[int, Version] = {}

    @property
    def latest(self) -> int:
        """The newest version's number, 0 before the first."""
        return len(self.versions)


class Archived(Struct, frozen=True):
    """Deleted; `last` is what it was."""

    last: Active


type Agent = Absent | Active | Archived


def evolve(agent: Agent, event: AgentEvent) -> Agent:
    """Fold one event."""
    match event, agent:
        case AgentCreated(workspace_id=workspace_id, name=name), _:
            return Active(workspace_id, name)
        case AgentVersionDrafted(version=number), Active():
            version = Version(event.definition, event.mode, event.reason)
            return _with(agent, number, version)
        case AgentVersionReady(version=number, artifact=artifact), Active():
            ready = replace(agent.versions[number], status="ready", artifact=artifact)
            return _with(agent, number, ready)
        case AgentVersionFailed(version=number, detail=detail), Active():
            failed = replace(agent.versions[number], status="failed", detail=detail)
            return _with(agent, number, failed)
        case AgentArchived(), Active():
            return Archived(agent)
        case _:
            return agent


def _with(agent: Active, number: int, version: Version) -> Active:
    return replace(agent, versions={**agent.versions, number: version})


class CreateAgent(Command):
    """Create it under an id made by the caller, who reserves the name."""

    agent_id: str
    workspace_id: str
    name: str


class DraftAgentVersion(Command):
    """Add the next version."""

    agent_id: str
    definition: Definition
    mode: Mode
    reason: str


class ReadyAgentVersion(Command):
    """Say that a draft can run."""

    agent_id: str
    version: int
    artifact: Artifact | None


class FailAgentVersion(Command):
    """Say that a draft could not be built."""

    agent_id: str
    version: int
    detail: str


class ArchiveAgent(Command):
    """Delete it; asking twice changes nothing."""

    agent_id: str


type AgentCommand = (
    CreateAgent | DraftAgentVersion | ReadyAgentVersion | FailAgentVersion | ArchiveAgent
)


def decide(command: AgentCommand, agent: Agent) -> list[AgentEvent]:
    """Return what happens, or refuse."""
    match command, agent:
        case CreateAgent(agent_id=id), Absent():
            created = AgentCreated(
                agent_id=id, workspace_id=command.workspace_id, name=command.name
            )
            return [created]
        case CreateAgent(agent_id=id), _:
            raise Conflict(f"Agent {id} already exists.", agent=id)
        case _, Absent():
            raise NotFound(f"There is no agent {command.agent_id}.")
        case ArchiveAgent(agent_id=id), Active():
            return [AgentArchived(agent_id=id)]
        case ArchiveAgent(), Archived():
            return []
        case _, Archived(last=last):
            raise NotFound(f"Agent {last.name} was deleted.")
        case DraftAgentVersion(agent_id=id), Active(latest=latest):
            drafted = AgentVersionDrafted(
                agent_id=id,
                version=latest + 1,
                definition=command.definition,
                mode=command.mode,
                reason=command.reason,
            )
            return [drafted]
        case ReadyAgentVersion(agent_id=id, version=number, artifact=artifact), Active():
            if _judged(agent, number, "ready"):
                return []
            return [AgentVersionReady(agent_id=id, version=number, artifact=artifact)]
        case FailAgentVersion(agent_id=id, version=number, detail=detail), Active():
            if _judged(agent, number, "failed"):
                return []
            return [AgentVersionFailed(agent_id=id, version=number, detail=detail)]


def _judged(agent: Active, number: int, status: VersionStatus) -> bool:
    """Whether the version has this status already. Refuses to change what is ready or failed."""
    if number not in agent.versions:
        raise NotFound(f"Agent {agent.name} has no version {number}.")
    current = agent.versions[number].status
    if current not in ("draft", status):
        raise Conflict(f"Version {number} of agent {agent.name} is {current} for good.")
    return current == status


AGENT = Decider("agent", Absent(), evolve, decide)
