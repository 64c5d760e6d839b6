"""A draft: a deploy that is filled in step by step, by people or assistants. Stream `draft-<id>`.

Absent -> InProgress (revised any number of times) -> Ended; any of them -> Archived.
"""

from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import asdict, replace

from domain.decider import Command, Decider, Event
from domain.deployments import ModelConfig
from domain.errors import Conflict, NotFound

type DraftStatus = Literal["in_progress", "completed", "abandoned"]


class DraftContent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a draft says of the deploy. None: nothing; what is empty is to be empty.

    snapshot_id: the stored source. uses_image: it is `image` that is deployed, not the source.
    tool_mappings: names of tools by what the code calls them, be it a URL or another name.
    source_type, step, access_mode: the words of whoever fills it in. Nothing follows from them.
    The others are as in Settings.
    """

    agent_name: str | None = None
    snapshot_id: str | None = None
    uses_image: bool | None = None
    image: str | None = None
    system_prompt: str | None = None
    required_tools: list[str] | None = None
    tool_mappings: dict[str, str] | None = None
    llm_configs: list[ModelConfig] | None = None
    policies: list[str] | None = None
    identity_provider: str | None = None
    source_type: str | None = None
    step: str | None = None
    access_mode: str | None = None


class DraftCreated(Event, tag="draft.created"):
    """It was begun. Its version, which every event of it raises, is 1."""

    draft_id: str
    workspace_id: str
    content: DraftContent


class DraftRevised(Event, tag="draft.revised"):
    """It says this from now on: the whole of it, not only what changed."""

    draft_id: str
    content: DraftContent


class DraftCompleted(Event, tag="draft.completed"):
    """It was deployed, in the same append as this, or said to be done with.

    agent_name: what it was deployed as; empty where it was not by a deploy.
    """

    draft_id: str
    agent_name: str = ""


class DraftAbandoned(Event, tag="draft.abandoned"):
    """Nobody is going to deploy it."""

    draft_id: str


class DraftArchived(Event, tag="draft.archived"):
    """It was deleted; its history stays."""

    draft_id: str


type DraftEvent = DraftCreated | DraftRevised | DraftCompleted | DraftAbandoned | DraftArchived


class DraftHasChanged(Conflict):
    """The draft is at another version than was expected. Read it, and send it for that one."""

    type = "draft-changed"
    title = "The draft has changed"

    def __init__(self, draft_id: str, version: int, expected: int) -> None:
        super().__init__(
            f"Draft {draft_id} is at version {version}, not {expected}: read it again, and send "
            "what is still to be changed.",
            draft=draft_id,
            version=version,
        )


class DraftHasEnded(Conflict):
    """A draft that was completed or abandoned is not changed or deployed any more. Make another."""

    type = "draft-ended"
    title = "The draft has ended"

    def __init__(self, draft_id: str, how: DraftStatus, agent_name: str) -> None:
        deployed = f", deployed as {agent_name}" if agent_name else ""
        super().__init__(
            f"Draft {draft_id} was {how}{deployed}; make another one.",
            draft=draft_id,
            how=how,
        )


class Absent(Struct, frozen=True):
    """Nothing was created under this id."""


class InProgress(Struct, frozen=True):
    """It may be changed, and deployed once."""

    workspace_id: str
    content: DraftContent
    version: int = 1


class Ended(Struct, frozen=True):
    """It says for ever what it said. `agent_name`: what it was deployed as, if it was."""

    workspace_id: str
    content: DraftContent
    version: int
    how: DraftStatus
    agent_name: str = ""


class Archived(Struct, frozen=True):
    """Gone; `last` is what it was."""

    last: InProgress | Ended


type Draft = Absent | InProgress | Ended | Archived


def evolve(draft: Draft, event: DraftEvent) -> Draft:
    """Fold one event."""
    match event, draft:
        case DraftCreated(workspace_id=workspace_id, content=content), _:
            return InProgress(workspace_id, content)
        case DraftRevised(content=content), InProgress(version=version):
            return replace(draft, content=content, version=version + 1)
        case DraftCompleted(agent_name=agent_name), InProgress():
            return _ended(draft, "completed", agent_name)
        case DraftAbandoned(), InProgress():
            return _ended(draft, "abandoned")
        case DraftArchived(), InProgress() | Ended():
            return Archived(draft)
        case _:
            return draft


def _ended(draft: InProgress, how: DraftStatus, agent_name: str = "") -> Ended:
    return Ended(draft.workspace_id, draft.content, draft.version + 1, how, agent_name)


class CreateDraft(Command):
    """Begin it under an id made by the caller."""

    draft_id: str
    workspace_id: str
    content: DraftContent


class ReviseDraft(Command):
    """Say what `changes` says instead, and nothing else; refused at another version.

    expected_version: None, here and below: whatever it is.
    """

    draft_id: str
    changes: DraftContent
    expected_version: int | None = None


class CompleteDraft(Command):
    """Deploy it (as the agent of this name), or be done with it: once."""

    draft_id: str
    agent_name: str = ""
    expected_version: int | None = None


class AbandonDraft(Command):
    """Give it up."""

    draft_id: str
    expected_version: int | None = None


class ArchiveDraft(Command):
    """Delete it, in whatever state it is."""

    draft_id: str
    expected_version: int | None = None


type DraftCommand = CreateDraft | ReviseDraft | CompleteDraft | AbandonDraft | ArchiveDraft


def decide(command: DraftCommand, draft: Draft) -> list[DraftEvent]:
    """Return what happens, or refuse."""
    match command, draft:
        case CreateDraft(draft_id=id, workspace_id=workspace_id, content=content), Absent():
            return [DraftCreated(draft_id=id, workspace_id=workspace_id, content=content)]
        case CreateDraft(draft_id=id), _:
            raise Conflict(f"Draft {id} already exists.", draft=id)
        case _, Absent() | Archived():
            raise NotFound(f"There is no draft {command.draft_id}.")
        case ArchiveDraft(draft_id=id), InProgress() | Ended():
            _check_version(command, draft)
            return [DraftArchived(draft_id=id)]
        case _, Ended(how=how, agent_name=agent_name):
            raise DraftHasEnded(command.draft_id, how, agent_name)
        case ReviseDraft(draft_id=id, changes=changes), InProgress(content=content):
            _check_version(command, draft)
            revised = replace(content, **_said(changes))
            return [DraftRevised(draft_id=id, content=revised)] if revised != content else []
        case CompleteDraft(draft_id=id, agent_name=agent_name), InProgress():
            _check_version(command, draft)
            return [DraftCompleted(draft_id=id, agent_name=agent_name)]
        case AbandonDraft(draft_id=id), InProgress():
            _check_version(command, draft)
            return [DraftAbandoned(draft_id=id)]


# Any: the values are those of the fields.
def _said(content: DraftContent) -> dict[str, Any]:
    return {name: value for name, value in asdict(content).items() if value is not None}


def _check_version(
    command: ReviseDraft | CompleteDraft | AbandonDraft | ArchiveDraft, draft: InProgress | Ended
) -> None:
    expected = command.expected_version
    if expected is not None and expected != draft.version:
        raise DraftHasChanged(command.draft_id, draft.version, expected)


DRAFT = Decider("draft", Absent(), evolve, decide)
