"""Drafts in lists: given events, then rows."""

from adapters.event_store.store import Store
from domain.deployments import ModelConfig
from domain.drafts import (
    DraftAbandoned,
    DraftArchived,
    DraftCompleted,
    DraftContent,
    DraftCreated,
    DraftRevised,
)
from projections.drafts import DRAFTS, DraftRow, list_drafts
from projections.reads import ReadModels
from projections.rebuilding import Parts
from tests.projections.histories import built, say

FIRST = DraftContent(step="name", policies=[])
SECOND = DraftContent(step="models", llm_configs=[ModelConfig(model="m", role="chat")])


def created(id: str, workspace_id: str = "w") -> DraftCreated:
    return DraftCreated(draft_id=id, workspace_id=workspace_id, content=FIRST)


async def test_a_draft_is_there_whole_as_it_is_now(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    made = await say(store, "draft-a", created("a"))
    revised = await say(store, "draft-a", DraftRevised(draft_id="a", content=SECOND))
    await say(store, "draft-b", created("b"))
    await built(parts, [DRAFTS])

    newest, oldest = (await list_drafts(reads, "w")).items

    assert (newest.id, newest.content, newest.version) == ("b", FIRST, 1)
    assert oldest == DraftRow(
        id="a",
        workspace_id="w",
        status="in_progress",
        version=2,
        content=SECOND,
        deployed_as="",
        created_at=made.recorded[0].at,
        updated_at=revised.recorded[0].at,
    )


async def test_what_has_ended_stays_in_the_list(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    completed = DraftCompleted(draft_id="a", agent_name="echo")
    await say(store, "draft-a", created("a"), completed)
    await say(store, "draft-b", created("b"), DraftAbandoned(draft_id="b"))
    await built(parts, [DRAFTS])

    rows = (await list_drafts(reads, "w")).items

    assert [(row.id, row.status, row.version, row.deployed_as) for row in rows] == [
        ("b", "abandoned", 2, ""),
        ("a", "completed", 2, "echo"),
    ]


async def test_deleted_ones_and_others_are_not_listed(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    await say(store, "draft-a", created("a"), DraftArchived(draft_id="a"))
    await say(store, "draft-b", created("b", "elsewhere"))
    await built(parts, [DRAFTS])

    assert (await list_drafts(reads, "w")).items == []


async def test_pages_join_without_gaps(store: Store, parts: Parts, reads: ReadModels) -> None:
    for number in range(5):
        await say(store, f"draft-{number}", created(str(number)))
    await built(parts, [DRAFTS])
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await list_drafts(reads, "w", cursor=cursor, limit=2)
        found += [row.id for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert found == ["4", "3", "2", "1", "0"]
