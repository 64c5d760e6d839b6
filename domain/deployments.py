"""A deployment: an endpoint (slug) bound to one version; each change is a revision.

Stream `deployment-<id>`. Absent -> Active -> Archived; each revision: pending -> ready | failed.
The newest ready revision serves.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from domain.decider import Command, Decider, Event
from domain.errors import Conflict, NotFound
from domain.limits import Limits

type RevisionStatus = Literal["pending", "ready", "failed"]


class ModelConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model that an agent uses, and for what (RunAgents contract §3).

    role: `chat`, `embedding`, `classify` or `reranking`; `default` is another word for `chat`.
    model_provider: name of the provider document, where the model alone does not choose it.
    monthly_budget_usd: None for no limit.
    """

    provider: str = ""
    model: str = ""
    role: str = "default"
    model_provider: str = ""
    monthly_budget_usd: float | None = None


class Settings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a revision runs its version with.

    environment: extra variables, not secret.
    max_attempts: how often a run whose output was already seen may be started in all.
    required_tools, tool_url_mappings, llm_configs, policies, identity_provider: as a RunAgents
    deploy names them (contract §3).
    """

    environment: dict[str, str] = {}
    system_prompt: str = ""
    limits: Limits = Limits()
    max_attempts: int = 1
    required_tools: list[str] = []
    tool_url_mappings: dict[str, str] = {}
    llm_configs: list[ModelConfig] = []
    policies: list[str] = []
    identity_provider: str = ""


class DeploymentCreated(Event, tag="deployment.created"):
    """`slug` is unique in the workspace and never changes."""

    deployment_id: str
    workspace_id: str
    slug: str
    agent_id: str
    agent_name: str


class RevisionMade(Event, tag="deployment.revision_made"):
    """Revisions count from 1. `build_id`: the build it waits for, empty if it waits for none."""

    deployment_id: str
    revision: int
    agent_version: int
    settings: Settings = Settings()
    build_id: str = ""


class RevisionReady(Event, tag="deployment.revision_ready"):
    """It serves from now on, unless a newer one already does."""

    deployment_id: str
    revision: int


class RevisionFailed(Event, tag="deployment.revision_failed"):
    """It will never serve; `detail` says why."""

    deployment_id: str
    revision: int
    detail: str


class DeploymentArchived(Event, tag="deployment.archived"):
    """The endpoint is gone and its slug free; runs in flight go on."""

    deployment_id: str


type DeploymentEvent = (
    DeploymentCreated | RevisionMade | RevisionReady | RevisionFailed | DeploymentArchived
)


class Revision(Struct, frozen=True):
    """One revision."""

    agent_version: int
    settings: Settings
    build_id: str = ""
    status: RevisionStatus = "pending"
    detail: str = ""


class Absent(Struct, frozen=True):
    """Nothing was created under this id."""


class Active(Struct, frozen=True):
    """`revisions` by number."""

    workspace_id: str
    slug: str
    agent_id: str
    agent_name: str
    revisions: Mapping[int, Revision] = {}

    @property
    def latest(self) -> int:
        """The newest revision's number, 0 before the first."""
        return len(self.revisions)

    @property
    def serving(self) -> int:
        """The revision that runs are given: the newest ready one, 0 if there is none."""
        ready = (number for number, each in self.revisions.items() if each.status == "ready")
        return max(ready, default=0)


class Archived(Struct, frozen=True):
    """Gone; `last` is what it was."""

    last: Active


type Deployment = Absent | Active | Archived


def evolve(deployment: Deployment, event: DeploymentEvent) -> Deployment:
    """Fold one event."""
    match event, deployment:
        case DeploymentCreated(), _:
            return Active(event.workspace_id, event.slug, event.agent_id, event.agent_name)
        case RevisionMade(revision=number), Active():
            revision = Revision(event.agent_version, event.settings, event.build_id)
            return _with(deployment, number, revision)
        case RevisionReady(revision=number), Active():
            return _with(deployment, number, replace(deployment.revisions[number], status="ready"))
        case RevisionFailed(revision=number, detail=detail), Active():
            failed = replace(deployment.revisions[number], status="failed", detail=detail)
            return _with(deployment, number, failed)
        case DeploymentArchived(), Active():
            return Archived(deployment)
        case _:
            return deployment


def _with(deployment: Active, number: int, revision: Revision) -> Active:
    return replace(deployment, revisions={**deployment.revisions, number: revision})


class CreateDeployment(Command):
    """Create it under an id made by the caller, who reserves the slug."""

    deployment_id: str
    workspace_id: str
    slug: str
    agent_id: str
    agent_name: str


class MakeRevision(Command):
    """Add a revision; it is ready at once if it waits for no build."""

    deployment_id: str
    agent_version: int
    settings: Settings
    build_id: str


class ReadyRevision(Command):
    """Say that a revision can serve."""

    deployment_id: str
    revision: int


class FailRevision(Command):
    """Say that a revision never will."""

    deployment_id: str
    revision: int
    detail: str


class ArchiveDeployment(Command):
    """Take the endpoint away; asking twice changes nothing."""

    deployment_id: str


type DeploymentCommand = (
    CreateDeployment | MakeRevision | ReadyRevision | FailRevision | ArchiveDeployment
)


def decide(command: DeploymentCommand, deployment: Deployment) -> list[DeploymentEvent]:
    """Return what happens, or refuse."""
    match command, deployment:
        case CreateDeployment(deployment_id=id), Absent():
            created = DeploymentCreated(
                deployment_id=id,
                workspace_id=command.workspace_id,
                slug=command.slug,
                agent_id=command.agent_id,
                agent_name=command.agent_name,
            )
            return [created]
        case CreateDeployment(deployment_id=id), _:
            raise Conflict(f"Deployment {id} already exists.", deployment=id)
        case _, Absent():
            raise NotFound(f"There is no deployment {command.deployment_id}.")
        case ArchiveDeployment(deployment_id=id), Active():
            return [DeploymentArchived(deployment_id=id)]
        case ArchiveDeployment(), Archived():
            return []
        case _, Archived(last=last):
            raise NotFound(f"Deployment {last.slug} was deleted.")
        case MakeRevision(), Active(latest=latest):
            return _made(command, latest + 1)
        case ReadyRevision(deployment_id=id, revision=number), Active():
            if _judged(deployment, number, "ready"):
                return []
            return [RevisionReady(deployment_id=id, revision=number)]
        case FailRevision(deployment_id=id, revision=number, detail=detail), Active():
            if _judged(deployment, number, "failed"):
                return []
            return [RevisionFailed(deployment_id=id, revision=number, detail=detail)]


def _made(command: MakeRevision, number: int) -> list[DeploymentEvent]:
    id = command.deployment_id
    made = RevisionMade(
        deployment_id=id,
        revision=number,
        agent_version=command.agent_version,
        settings=command.settings,
        build_id=command.build_id,
    )
    if command.build_id:
        return [made]
    return [made, RevisionReady(deployment_id=id, revision=number)]


def _judged(deployment: Active, number: int, status: RevisionStatus) -> bool:
    """Whether the revision has this status already. Refuses to change what is ready or failed."""
    if number not in deployment.revisions:
        raise NotFound(f"Deployment {deployment.slug} has no revision {number}.")
    current = deployment.revisions[number].status
    if current not in ("pending", status):
        raise Conflict(f"Revision {number} of {deployment.slug} is {current} for good.")
    return current == status


DEPLOYMENT = Decider("deployment", Absent(), evolve, decide)
