"""Workspaces in lists: given events, then rows."""

from adapters.event_store.store import Store
from domain.workspaces import WorkspaceArchived, WorkspaceCreated
from projections.reads import ReadModels
from projections.rebuilding import Parts
from projections.workspaces import WORKSPACES, WorkspaceRow, list_workspaces
from tests.projections.histories import built, say


def created(id: str, organization_id: str = "o") -> WorkspaceCreated:
    return WorkspaceCreated(
        workspace_id=id, organization_id=organization_id, slug=f"slug-{id}", name=f"Name {id}"
    )


async def test_an_organization_sees_its_own(store: Store, parts: Parts, reads: ReadModels) -> None:
    appended = await say(store, "workspace-w1", created("w1"))
    await say(store, "workspace-w2", created("w2", "another"))
    await built(parts, [WORKSPACES])

    page = await list_workspaces(reads, "o")

    assert page.items == [
        WorkspaceRow(
            id="w1",
            organization_id="o",
            slug="slug-w1",
            name="Name w1",
            status="active",
            created_at=appended.recorded[0].at,
        )
    ]


async def test_a_narrowed_key_sees_one(store: Store, parts: Parts, reads: ReadModels) -> None:
    await say(store, "workspace-w1", created("w1"))
    await say(store, "workspace-w2", created("w2"))
    await built(parts, [WORKSPACES])

    page = await list_workspaces(reads, "o", only="w1")

    assert [row.id for row in page.items] == ["w1"]


async def test_archived_workspaces_are_listed_only_if_asked_for(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    await say(store, "workspace-w1", created("w1"), WorkspaceArchived(workspace_id="w1"))
    await built(parts, [WORKSPACES])

    shown = (await list_workspaces(reads, "o")).items
    everything = (await list_workspaces(reads, "o", archived=True)).items

    assert shown == []
    assert [(row.id, row.status) for row in everything] == [("w1", "archived")]
