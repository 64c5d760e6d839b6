"""API keys in lists: given events, then rows."""

from datetime import UTC, datetime

from msgspec.structs import replace

from adapters.event_store.store import Store
from domain.catalog import (
    ApiKey,
    DocumentApplied,
    DocumentArchived,
    DocumentRevised,
    Tool,
)
from projections.keys import KEYS, KeyRow, list_keys, table
from projections.reads import ReadModels
from projections.rebuilding import Parts
from tests.projections.histories import built, say

KEY = ApiKey(
    organization_id="o",
    digest="d" * 64,
    prefix="argosy_ab",
    last4="wxyz",
    role="deployer",
    expires_at=86_400.0,
)


def applied(id: str, key: ApiKey = KEY) -> DocumentApplied:
    return DocumentApplied(document_id=id, scope="o", name=f"Key {id}", spec=key)


async def test_a_key_is_shown_without_its_digest(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    appended = await say(store, "api_key-k1", applied("k1"))
    await built(parts, [KEYS])

    [row] = (await list_keys(reads, "o")).items

    assert row == KeyRow(
        id="k1",
        organization_id="o",
        workspace_id="",
        name="Key k1",
        role="deployer",
        prefix="argosy_ab",
        last4="wxyz",
        status="active",
        created_at=appended.recorded[0].at,
        expires_at=datetime(1970, 1, 2, tzinfo=UTC),
    )
    assert "digest" not in table("keys").c


async def test_a_revoked_key_stays_in_the_list(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    viewer = DocumentRevised(
        document_id="k1", revision=2, spec=replace(KEY, role="viewer", expires_at=0.0)
    )
    await say(store, "api_key-k1", applied("k1"), viewer, DocumentArchived(document_id="k1"))
    await built(parts, [KEYS])

    [row] = (await list_keys(reads, "o")).items

    assert (row.role, row.expires_at, row.status) == ("viewer", None, "revoked")


async def test_a_key_may_expire_after_all_time(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    await say(store, "api_key-k1", applied("k1", replace(KEY, expires_at=1e300)))
    await built(parts, [KEYS])

    [row] = (await list_keys(reads, "o")).items

    assert row.expires_at == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


async def test_other_documents_are_not_keys(store: Store, parts: Parts, reads: ReadModels) -> None:
    tool = DocumentApplied(document_id="k1", scope="w", name="t", spec=Tool(base_url="http://t"))
    await say(store, "tool-k1", tool, DocumentArchived(document_id="k1"))
    await say(store, "api_key-k2", applied("k2"))
    await built(parts, [KEYS])

    page = await list_keys(reads, "o")

    assert [(row.id, row.status) for row in page.items] == [("k2", "active")]
    assert page.position == 3


async def test_keys_are_narrowed_to_a_workspace(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    await say(store, "api_key-k1", applied("k1", replace(KEY, workspace_id="w")))
    await say(store, "api_key-k2", applied("k2"))
    await built(parts, [KEYS])

    page = await list_keys(reads, "o", workspace_id="w")

    assert [row.id for row in page.items] == ["k1"]
