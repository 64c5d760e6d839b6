"""A workspace: everything but API keys belongs to one. Stream `workspace-<id>`.

Absent -> Active -> Archived.
"""

from msgspec import Struct

from domain.decider import Command, Decider, Event
from domain.errors import Conflict, NotFound


class WorkspaceCreated(Event, tag="workspace.created"):
    """`slug` is unique in the organization and never changes; it is what people type."""

    workspace_id: str
    organization_id: str
    slug: str
    name: str


class WorkspaceArchived(Event, tag="workspace.archived"):
    """Nothing new can happen in it; its history stays. The slug is free again."""

    workspace_id: str


type WorkspaceEvent = WorkspaceCreated | WorkspaceArchived


class Absent(Struct, frozen=True):
    """Nothing was created under this id."""


class Active(Struct, frozen=True):
    """In use."""

    organization_id: str
    slug: str
    name: str


class Archived(Struct, frozen=True):
    """Read only."""

    organization_id: str
    slug: str


type Workspace = Absent | Active | Archived


def evolve(workspace: Workspace, event: WorkspaceEvent) -> Workspace:
    """Fold one event."""
    match event, workspace:
        case WorkspaceCreated(organization_id=organization_id, slug=slug, name=name), _:
            return Active(organization_id, slug, name)
        case WorkspaceArchived(), Active(organization_id=organization_id, slug=slug):
            return Archived(organization_id, slug)
        case WorkspaceArchived(), _:
            return workspace


class CreateWorkspace(Command):
    """Create it under an id made by the caller; the caller reserves the slug."""

    workspace_id: str
    organization_id: str
    slug: str
    name: str


class ArchiveWorkspace(Command):
    """Close it; asking twice changes nothing."""

    workspace_id: str


type WorkspaceCommand = CreateWorkspace | ArchiveWorkspace


def decide(command: WorkspaceCommand, workspace: Workspace) -> list[WorkspaceEvent]:
    """Return what happens, or refuse."""
    match command, workspace:
        case CreateWorkspace(workspace_id=id), Absent():
            return [
                WorkspaceCreated(
                    workspace_id=id,
                    organization_id=command.organization_id,
                    slug=command.slug,
                    name=command.name,
                )
            ]
        case CreateWorkspace(workspace_id=id), _:
            raise Conflict(f"Workspace {id} already exists.", workspace=id)
        case ArchiveWorkspace(workspace_id=id), Absent():
            raise NotFound(f"There is no workspace {id}.")
        case ArchiveWorkspace(workspace_id=id), Active():
            return [WorkspaceArchived(workspace_id=id)]
        case ArchiveWorkspace(), Archived():
            return []


WORKSPACE = Decider("workspace", Absent(), evolve, decide)
