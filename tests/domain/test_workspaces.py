"""Workspaces: every command in every state."""

from domain.errors import Conflict, NotFound
from domain.workspaces import (
    WORKSPACE,
    Absent,
    Active,
    Archived,
    ArchiveWorkspace,
    CreateWorkspace,
    WorkspaceArchived,
    WorkspaceCreated,
)
from tests.spec import Spec

workspace = Spec(WORKSPACE)
created = WorkspaceCreated(workspace_id="w", organization_id="o", slug="lab", name="The lab")
archived = WorkspaceArchived(workspace_id="w")
create = CreateWorkspace(workspace_id="w", organization_id="o", slug="lab", name="The lab")
archive = ArchiveWorkspace(workspace_id="w")


def test_a_workspace_is_created() -> None:
    workspace.when(create).then(created)


def test_an_id_is_used_once() -> None:
    workspace.given(created).when(create).then(Conflict)
    workspace.given(created, archived).when(create).then(Conflict)


def test_a_workspace_is_archived() -> None:
    workspace.given(created).when(archive).then(archived)


def test_archiving_twice_changes_nothing() -> None:
    workspace.given(created, archived).when(archive).then()


def test_what_was_never_created_cannot_be_archived() -> None:
    workspace.when(archive).then(NotFound)


def test_states() -> None:
    assert workspace.state() == Absent()
    assert workspace.given(created).state() == Active("o", "lab", "The lab")
    assert workspace.given(created, archived).state() == Archived("o", "lab")
    assert workspace.given(archived).state() == Absent()
