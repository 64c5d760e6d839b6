"""Agents in lists: given events, then rows."""

from adapters.event_store.store import Store
from domain.agents import (
    AgentArchived,
    AgentCreated,
    AgentVersionDrafted,
    AgentVersionFailed,
    AgentVersionReady,
)
from domain.execution import ImageDefinition
from projections.agents import AGENTS, AgentRow, LatestVersion, list_agents
from projections.reads import ReadModels
from projections.rebuilding import Parts
from tests.projections.histories import built, say

CREATED = AgentCreated(agent_id="a1", workspace_id="w", name="echo")


def drafted(version: int) -> AgentVersionDrafted:
    return AgentVersionDrafted(
        agent_id="a1",
        version=version,
        definition=ImageDefinition(image="echo:1"),
        mode="IMAGE",
        reason="It is an image.",
    )


async def test_an_agent_shows_its_newest_version(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    late = AgentVersionReady(agent_id="a1", version=1)
    failed = AgentVersionFailed(agent_id="a1", version=2, detail="no such image")
    appended = await say(store, "agent-a1", CREATED, drafted(1), drafted(2), failed, late)
    await built(parts, [AGENTS])

    [row] = (await list_agents(reads, "w")).items

    assert row == AgentRow(
        id="a1",
        workspace_id="w",
        name="echo",
        status="active",
        latest=LatestVersion(
            version=2,
            status="failed",
            mode="IMAGE",
            reason="It is an image.",
            detail="no such image",
        ),
        created_at=appended.recorded[0].at,
        updated_at=appended.recorded[-1].at,
    )


async def test_a_newer_draft_is_not_failed_any_more(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    failed = AgentVersionFailed(agent_id="a1", version=1, detail="no such image")
    await say(store, "agent-a1", CREATED, drafted(1), failed, drafted(2))
    await built(parts, [AGENTS])

    [row] = (await list_agents(reads, "w")).items

    assert row.latest
    assert (row.latest.version, row.latest.status, row.latest.detail) == (2, "draft", "")


async def test_an_agent_without_versions_has_no_latest(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    await say(store, "agent-a1", CREATED)
    await built(parts, [AGENTS])

    [row] = (await list_agents(reads, "w")).items

    assert row.latest is None


async def test_deleted_agents_are_listed_only_if_asked_for(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    ready = AgentVersionReady(agent_id="a1", version=1)
    await say(store, "agent-a1", CREATED, drafted(1), ready, AgentArchived(agent_id="a1"))
    await say(store, "agent-a2", AgentCreated(agent_id="a2", workspace_id="w", name="echo"))
    await built(parts, [AGENTS])

    shown = [row.id for row in (await list_agents(reads, "w")).items]
    everything = (await list_agents(reads, "w", archived=True)).items

    assert shown == ["a2"]
    assert [(row.id, row.status) for row in everything] == [("a2", "active"), ("a1", "archived")]
