"""Deployments in lists: given events, then rows."""

import pytest

from adapters.event_store.store import Store
from domain.deployments import (
    DeploymentArchived,
    DeploymentCreated,
    DeploymentEvent,
    RevisionFailed,
    RevisionMade,
    RevisionReady,
    Settings,
)
from projections.deployments import (
    DEPLOYMENTS,
    DeploymentRow,
    LatestRevision,
    list_bindings,
    list_deployments,
)
from projections.reads import ReadModels
from projections.rebuilding import Parts
from tests.projections.histories import built, say

CREATED = DeploymentCreated(
    deployment_id="d1", workspace_id="w", slug="echo", agent_id="a1", agent_name="echo"
)


def made(revision: int) -> RevisionMade:
    return RevisionMade(
        deployment_id="d1", revision=revision, agent_version=revision + 10, build_id=f"b{revision}"
    )


def repeated(revision: int, *, of: int) -> RevisionMade:
    return RevisionMade(
        deployment_id="d1", revision=revision, agent_version=of + 10, rolled_back_to=of
    )


def ready(revision: int) -> RevisionReady:
    return RevisionReady(deployment_id="d1", revision=revision)


def failed(revision: int) -> RevisionFailed:
    return RevisionFailed(deployment_id="d1", revision=revision, detail="no wheel")


async def test_a_deployment_shows_what_serves_and_what_comes(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    appended = await say(store, "deployment-d1", CREATED, made(1), ready(1), made(2), failed(2))
    await built(parts, [DEPLOYMENTS])

    [row] = (await list_deployments(reads, "w")).items

    assert row == DeploymentRow(
        id="d1",
        workspace_id="w",
        slug="echo",
        agent_id="a1",
        agent_name="echo",
        status="ready",
        serving=1,
        latest=LatestRevision(
            revision=2, agent_version=12, status="failed", build_id="b2", detail="no wheel"
        ),
        created_at=appended.recorded[0].at,
        updated_at=appended.recorded[-1].at,
    )


@pytest.mark.parametrize(
    ("events", "status", "serving", "latest"),
    [
        ([], "building", None, None),
        ([made(1)], "building", None, "pending"),
        ([made(1), failed(1)], "failed", None, "failed"),
        ([made(1), failed(1), made(2)], "building", None, "pending"),
        ([made(1), ready(1)], "ready", 1, "ready"),
        ([made(1), made(2), ready(2), ready(1)], "ready", 2, "ready"),
        ([made(1), made(2), ready(1)], "ready", 1, "pending"),
    ],
)
async def test_the_newest_ready_revision_serves(
    store: Store,
    parts: Parts,
    reads: ReadModels,
    events: list[DeploymentEvent],
    status: str,
    serving: int | None,
    latest: str | None,
) -> None:
    await say(store, "deployment-d1", CREATED, *events)
    await built(parts, [DEPLOYMENTS])

    [row] = (await list_deployments(reads, "w")).items

    assert (row.status, row.serving) == (status, serving)
    assert (row.latest and row.latest.status) == latest


async def test_a_rollback_shows_what_it_repeats(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    deploys = [CREATED, made(1), ready(1), made(2), ready(2)]
    await say(store, "deployment-d1", *deploys, repeated(3, of=1), ready(3))
    await built(parts, [DEPLOYMENTS])

    [row] = (await list_deployments(reads, "w")).items

    assert row.serving == 3
    assert row.latest == LatestRevision(
        revision=3, agent_version=11, status="ready", build_id="", detail="", rolled_back_to=1
    )


async def test_deleted_deployments_are_listed_only_if_asked_for(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    archived = DeploymentArchived(deployment_id="d1")
    await say(store, "deployment-d1", CREATED, made(1), ready(1), archived)
    await built(parts, [DEPLOYMENTS])

    shown = (await list_deployments(reads, "w")).items
    [everything] = (await list_deployments(reads, "w", archived=True)).items

    assert shown == []
    assert everything.status == "archived"


async def test_policies_are_bound_by_the_newest_revisions_of_what_is_there(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    def bound(id: str, *revisions: list[str]) -> list[DeploymentEvent]:
        created = DeploymentCreated(
            deployment_id=id, workspace_id="w", slug=id, agent_id=f"a-{id}", agent_name=id
        )
        made = [
            RevisionMade(
                deployment_id=id,
                revision=number,
                agent_version=1,
                settings=Settings(policies=policies),
            )
            for number, policies in enumerate(revisions, start=1)
        ]
        return [created, *made]

    await say(store, "deployment-b", *bound("b", ["old"], ["careful", "read"]))
    await say(store, "deployment-a", *bound("a", ["careful"]))
    await say(store, "deployment-free", *bound("free", ["careful"], []))
    gone = DeploymentArchived(deployment_id="gone")
    await say(store, "deployment-gone", *bound("gone", ["careful"]), gone)
    await built(parts, [DEPLOYMENTS])

    assert await list_bindings(reads, "w") == {"careful": ["a", "b"], "read": ["b"]}
    assert await list_bindings(reads, "v") == {}
