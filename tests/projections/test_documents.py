"""Documents in lists: given events, then rows; whole, but for their credentials."""

from msgspec.structs import replace

from adapters.event_store.store import Store
from domain.catalog import (
    ApiKey,
    DocumentApplied,
    DocumentArchived,
    DocumentRevised,
    ModelProvider,
    Policy,
    Rule,
    Spec,
    Tool,
)
from domain.documents import MODEL_PROVIDERS, POLICIES, TOOLS
from projections.documents import DOCUMENTS, DocumentRow, list_documents
from projections.reads import ReadModels
from projections.rebuilding import Parts
from tests.projections.histories import built, say

TOOL = Tool(base_url="https://a.example", auth_type="APIKey", credential="reference-canary")
POLICY = Policy(rules=[Rule(permission="allow", resource="*")], approvals=[{"name": "x"}])
PROVIDER = ModelProvider(vendor="openai", models=["m"], credential="reference-canary")


def applied(id: str, spec: Spec, scope: str = "w") -> DocumentApplied:
    return DocumentApplied(document_id=id, scope=scope, name=f"n-{id}", spec=spec)


async def test_a_document_is_there_whole_but_for_its_credential(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    made = await say(store, "tool-t", applied("t", TOOL))
    await say(store, "policy-p", applied("p", POLICY))
    await say(store, "model_provider-m", applied("m", PROVIDER))
    await built(parts, [DOCUMENTS])

    [tool] = (await list_documents(reads, TOOLS, "w")).items
    [policy] = (await list_documents(reads, POLICIES, "w")).items
    [provider] = (await list_documents(reads, MODEL_PROVIDERS, "w")).items

    at = made.recorded[0].at
    assert tool == DocumentRow(
        id="t",
        workspace_id="w",
        name="n-t",
        status="active",
        revision=1,
        spec=replace(TOOL, credential=""),
        has_credential=True,
        created_at=at,
        updated_at=at,
    )
    assert (policy.spec, policy.has_credential) == (POLICY, False)
    assert (provider.spec, provider.has_credential) == (replace(PROVIDER, credential=""), True)


async def test_a_revised_one_shows_its_newest_revision(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    plain = Tool(base_url="https://b.example")
    revised = DocumentRevised(document_id="t", revision=2, spec=plain)
    appended = await say(store, "tool-t", applied("t", TOOL), revised)
    await built(parts, [DOCUMENTS])

    [row] = (await list_documents(reads, TOOLS, "w")).items

    assert (row.revision, row.spec, row.has_credential) == (2, plain, False)
    assert row.updated_at == appended.recorded[1].at
    assert row.created_at == appended.recorded[0].at


async def test_deleted_and_other_documents_are_not_listed(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    key = ApiKey(organization_id="o", digest="d", prefix="p", last4="l", role="admin")
    await say(store, "tool-t", applied("t", TOOL), DocumentArchived(document_id="t"))
    await say(store, "tool-u", applied("u", TOOL, scope="elsewhere"))
    await say(store, "api_key-k", applied("k", key), DocumentArchived(document_id="k"))
    await built(parts, [DOCUMENTS])

    page = await list_documents(reads, TOOLS, "w")

    assert page.items == []
    assert page.position == 5
