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
    """Revisions count from 1. `build_id`: the build it waits for, empty if it waits for none.

    rolled_back_to: the earlier revision whose version and settings these are; 0 for a deploy.
    """

    deployment_id: str
    revision: int
    agent_version: int
    settings: Settings = Settings()
    build_id: str = ""
    rolled_back_to: int = 0


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
    """One revision. `rolled_back_to`: the revision that it repeats, 0 if it repeats none."""

    agent_version: int
    settings: Settings
    build_id: str = ""
    rolled_back_to: int = 0
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

    def origin(self, number: int) -> int:
        """The revision that was deployed, of which this one is a repetition or it itself."""
        while earlier := self.revisions[number].rolled_back_to:
            number = earlier
        return number


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
            revision = Revision(
                event.agent_version, event.settings, event.build_id, event.rolled_back_to
            )
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


class RollBack(Command):
    """Serve an earlier revision again: its version and settings, as a new revision.

    to: the revision, which was ready; 0 for the ready one before the one that serves, not counting
    repetitions: rolling back twice goes back two deploys.
    """

    deployment_id: str
    to: int = 0


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
    CreateDeployment | MakeRevision | RollBack | ReadyRevision | FailRevision | ArchiveDeployment
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
        case RollBack(deployment_id=id, to=to), Active():
            return _repeated(id, deployment, to or _before(deployment))
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


def _before(deployment: Active) -> int:
    """Return the ready revision that was deployed before the one that serves."""
    serving = deployment.serving
    origin = deployment.origin(serving) if serving else 0
    ready = (number for number, each in deployment.revisions.items() if each.status == "ready")
    before = max((number for number in ready if number < origin), default=0)
    if not before:
        raise Conflict(f"There is no earlier revision of {deployment.slug} to go back to.")
    return before


def _repeated(id: str, deployment: Active, number: int) -> list[DeploymentEvent]:
    revision = _revision(deployment, number)
    if revision.status != "ready":
        state = "failed" if revision.status == "failed" else "is not ready yet"
        raise Conflict(
            f"Revision {number} of {deployment.slug} {state}; only one that was ready can serve "
            "again.",
            revision=number,
        )
    latest = deployment.latest
    if deployment.origin(latest) == deployment.origin(number):
        as_latest = "" if latest == number else f", as revision {latest}"
        raise Conflict(
            f"Revision {number} of {deployment.slug} serves already{as_latest}.", revision=number
        )
    made = RevisionMade(
        deployment_id=id,
        revision=latest + 1,
        agent_version=revision.agent_version,
        settings=revision.settings,
        rolled_back_to=number,
    )
    return [made, RevisionReady(deployment_id=id, revision=latest + 1)]


def _revision(deployment: Active, number: int) -> Revision:
    if number not in deployment.revisions:
        raise NotFound(f"Deployment {deployment.slug} has no revision {number}.")
    return deployment.revisions[number]


def _judged(deployment: Active, number: int, status: RevisionStatus) -> bool:
    """Whether the revision has this status already. Refuses to change what is ready or failed."""
    current = _revision(deployment, number).status
    if current not in ("pending", status):
        raise Conflict(f"Revision {number} of {deployment.slug} is {current} for good.")
    return current == status


DEPLOYMENT = Decider("deployment", Absent(), evolve, decide)
