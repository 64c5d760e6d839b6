"""Documents: every command in every state, whatever their kind."""

import pytest
from msgspec.structs import replace

from domain.catalog import (
    API_KEY,
    TOOL,
    Absent,
    Active,
    ApiKey,
    ApplyDocument,
    Archived,
    ArchiveDocument,
    DocumentApplied,
    DocumentArchived,
    DocumentRevised,
    Tool,
    kind_of,
)
from domain.catalog import (
    Spec as AnySpec,
)
from domain.errors import Conflict, NotFound
from tests.spec import Spec

document = Spec(TOOL)
WEB = Tool(base_url="https://web.example")
OTHER = Tool(base_url="https://other.example")
KEY = ApiKey(organization_id="o", digest="0" * 64, prefix="argosy_a", last4="zzzz", role="viewer")

applied = DocumentApplied(document_id="t", scope="w", name="web", spec=WEB)
revised = DocumentRevised(document_id="t", revision=2, spec=OTHER)
archived = DocumentArchived(document_id="t")
apply = ApplyDocument(document_id="t", scope="w", name="web", spec=WEB)
revise = replace(apply, spec=OTHER)
archive = ArchiveDocument(document_id="t")


def test_a_document_is_declared() -> None:
    document.when(apply).then(applied)


def test_declaring_the_same_again_changes_nothing() -> None:
    document.given(applied).when(apply).then()
    document.given(applied, revised).when(revise).then()


def test_declaring_it_differently_revises_it() -> None:
    document.given(applied).when(revise).then(revised)
    document.given(applied, revised).when(apply).then(replace(revised, revision=3, spec=WEB))


def test_a_document_never_changes_its_kind() -> None:
    document.given(applied).when(replace(apply, spec=KEY)).then(Conflict)


def test_a_document_is_archived_once() -> None:
    document.given(applied).when(archive).then(archived)
    document.given(applied, archived).when(archive).then()


def test_what_was_never_declared_cannot_be_archived() -> None:
    document.when(archive).then(NotFound)


def test_a_deleted_document_does_not_come_back() -> None:
    document.given(applied, archived).when(apply).then(Conflict)
    document.given(applied, archived).when(revise).then(Conflict)


def test_states() -> None:
    assert document.state() == Absent()
    assert document.given(revised, archived).state() == Absent()
    assert document.given(applied).state() == Active("w", "web", WEB)
    assert document.given(applied, revised).state() == Active("w", "web", OTHER, 2)
    assert document.given(applied, archived).state() == Archived(Active("w", "web", WEB))


@pytest.mark.parametrize(("spec", "kind"), [(WEB, "tool"), (KEY, "api_key")])
def test_the_kind_is_the_category(spec: AnySpec, kind: str) -> None:
    assert kind_of(spec) == kind
    assert {TOOL.category, API_KEY.category} == {"tool", "api_key"}
