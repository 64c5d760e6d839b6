"""Deployments, as lists show them: each with its newest revision, and the one that serves."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct

from domain.decider import Recorded
from domain.deployments import (
    DeploymentArchived,
    DeploymentCreated,
    RevisionFailed,
    RevisionMade,
    RevisionReady,
    RevisionStatus,
)
from projections.projection import (
    Insert,
    Projection,
    Statement,
    Update,
    cut,
    moment,
    number,
    read_model,
    text,
)
from projections.reads import MOST_ITEMS, Page, ReadModels

type DeploymentStatus = Literal["building", "ready", "failed", "archived"]


class LatestRevision(Struct, frozen=True, kw_only=True):
    """A deployment's newest revision, without its settings. `build_id` may be empty.

    rolled_back_to: the revision that it repeats, None if it repeats none.
    """

    revision: int
    agent_version: int
    status: RevisionStatus
    build_id: str
    detail: str
    rolled_back_to: int | None = None


class DeploymentRow(Struct, frozen=True, kw_only=True):
    """A deployment in a list.

    status: `ready` as soon as any revision serves; else that of the newest one.
    serving: the newest ready revision, None while there is none.
    """

    id: str
    workspace_id: str
    slug: str
    agent_id: str
    agent_name: str
    status: DeploymentStatus
    serving: int | None
    latest: LatestRevision | None
    created_at: datetime
    updated_at: datetime


def table(name: str) -> sa.Table:
    """Make the read model's table."""
    return read_model(
        name,
        text("workspace_id"),
        text("slug"),
        text("agent_id"),
        text("agent_name"),
        number("archived"),
        text("policies"),
        number("serving"),
        number("revision"),
        number("agent_version"),
        number("rolled_back_to"),
        text("revision_status"),
        text("build_id"),
        text("detail"),
        moment("created_at"),
        moment("updated_at"),
        lists=[("workspace_id",)],
    )


def project(recorded: Recorded[Any]) -> Iterable[Statement]:
    """Return what an event means for the table."""
    event, at = recorded.event, recorded.at
    match event:
        case DeploymentCreated(deployment_id=id):
            created = {
                "position": recorded.position,
                "workspace_id": event.workspace_id,
                "slug": event.slug,
                "agent_id": event.agent_id,
                "agent_name": event.agent_name,
                "created_at": at,
                "updated_at": at,
            }
            yield Insert(id, created)
        case RevisionMade(deployment_id=id, revision=number):
            made = {
                "revision": number,
                "agent_version": event.agent_version,
                "rolled_back_to": event.rolled_back_to,
                "revision_status": "pending",
                "build_id": event.build_id,
                "detail": "",
                "policies": " ".join(event.settings.policies),
                "updated_at": at,
            }
            yield Update(id, made)
        case RevisionReady(deployment_id=id, revision=number):
            yield Update(id, {"updated_at": at})
            yield Update(id, {"serving": number}, where=("serving", "<", number))
            yield Update(id, {"revision_status": "ready"}, where=("revision", "=", number))
        case RevisionFailed(deployment_id=id, revision=number, detail=detail):
            failed = {"revision_status": "failed", "detail": cut(detail)}
            yield Update(id, {"updated_at": at})
            yield Update(id, failed, where=("revision", "=", number))
        case DeploymentArchived(deployment_id=id):
            yield Update(id, {"archived": 1, "updated_at": at})
        case _:
            pass


DEPLOYMENTS = Projection(
    name="deployments",
    version=3,
    handles=(DeploymentCreated, RevisionMade, RevisionReady, RevisionFailed, DeploymentArchived),
    table=table,
    project=project,
)


async def list_deployments(
    reads: ReadModels,
    workspace_id: str,
    *,
    archived: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[DeploymentRow]:
    """Return a workspace's deployments, newest first; deleted ones only where `archived` asks.

    Raises Invalid for a bad cursor.
    """

    def narrow(deployments: sa.FromClause) -> Iterable[sa.ColumnElement[bool]]:
        yield deployments.c.workspace_id == workspace_id
        if not archived:
            yield deployments.c.archived == 0

    return await reads.page(DEPLOYMENTS, narrow, _row, cursor=cursor, limit=limit)


async def list_bindings(reads: ReadModels, workspace_id: str) -> Mapping[str, Sequence[str]]:
    """Return, by name of a policy, the agents whose newest revision is bound to it, by name."""
    bound: dict[str, list[str]] = {}
    cursor: str | None = None

    def narrow(deployments: sa.FromClause) -> Iterable[sa.ColumnElement[bool]]:
        yield deployments.c.workspace_id == workspace_id
        yield deployments.c.archived == 0
        yield deployments.c.policies != ""

    while True:
        page = await reads.page(DEPLOYMENTS, narrow, _binding, cursor=cursor, limit=MOST_ITEMS)
        for agent, policies in page.items:
            for policy in policies:
                bound.setdefault(policy, []).append(agent)
        cursor = page.next_cursor
        if cursor is None:
            return {policy: sorted(set(agents)) for policy, agents in bound.items()}


def _binding(row: dict[str, Any]) -> tuple[str, list[str]]:
    return row["agent_name"], row["policies"].split(" ")


def _row(row: dict[str, Any]) -> DeploymentRow:
    latest = LatestRevision(
        revision=row["revision"],
        agent_version=row["agent_version"],
        status=row["revision_status"],
        build_id=row["build_id"],
        detail=row["detail"],
        rolled_back_to=row["rolled_back_to"] or None,
    )
    return DeploymentRow(
        id=row["id"],
        workspace_id=row["workspace_id"],
        slug=row["slug"],
        agent_id=row["agent_id"],
        agent_name=row["agent_name"],
        status=_status(row),
        serving=row["serving"] or None,
        latest=latest if latest.revision else None,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _status(row: dict[str, Any]) -> DeploymentStatus:
    if row["archived"]:
        return "archived"
    if row["serving"]:
        return "ready"
    return "failed" if row["revision_status"] == "failed" else "building"
