"""Drafts: every command in every state, and what they say of other versions than theirs."""

import pytest
from msgspec.structs import replace

from domain.deployments import ModelConfig
from domain.drafts import (
    DRAFT,
    AbandonDraft,
    Absent,
    Archived,
    ArchiveDraft,
    CompleteDraft,
    CreateDraft,
    DraftAbandoned,
    DraftArchived,
    DraftCommand,
    DraftCompleted,
    DraftContent,
    DraftCreated,
    DraftHasChanged,
    DraftHasEnded,
    DraftRevised,
    Ended,
    InProgress,
    ReviseDraft,
)
from domain.errors import Conflict, NotFound
from tests.spec import Spec

FIRST = DraftContent(agent_name="echo", step="name", policies=["p"])
SECOND = replace(FIRST, step="deploy", policies=[])

draft = Spec(DRAFT)
create = CreateDraft(draft_id="d", workspace_id="w", content=FIRST)
revise = ReviseDraft(draft_id="d", changes=DraftContent(step="deploy", policies=[]))
complete = CompleteDraft(draft_id="d", agent_name="echo")
abandon = AbandonDraft(draft_id="d")
archive = ArchiveDraft(draft_id="d")
created = DraftCreated(draft_id="d", workspace_id="w", content=FIRST)
revised = DraftRevised(draft_id="d", content=SECOND)
completed = DraftCompleted(draft_id="d", agent_name="echo")
abandoned = DraftAbandoned(draft_id="d")
archived = DraftArchived(draft_id="d")

CHANGING: list[DraftCommand] = [revise, complete, abandon]
ALL = [*CHANGING, archive]


def at(command: DraftCommand, version: int) -> DraftCommand:
    """Return the command for a draft at this version."""
    assert not isinstance(command, CreateDraft)
    return replace(command, expected_version=version)


def test_a_draft_is_begun() -> None:
    draft.when(create).then(created)


def test_an_id_is_used_once() -> None:
    for history in ([], [completed], [abandoned], [archived]):
        draft.given(created, *history).when(create).then(Conflict)


def test_a_change_says_what_changes_and_is_recorded_whole() -> None:
    draft.given(created).when(revise).then(revised)


def test_what_is_left_out_stays_and_what_is_empty_is_emptied() -> None:
    models = [ModelConfig(model="m", role="chat")]
    full = replace(FIRST, llm_configs=models, uses_image=True)
    begun = replace(created, content=full)
    changes = DraftContent(llm_configs=[], agent_name="", uses_image=False)

    draft.given(begun).when(ReviseDraft(draft_id="d", changes=changes)).then(
        DraftRevised(
            draft_id="d", content=replace(full, llm_configs=[], agent_name="", uses_image=False)
        )
    )


def test_a_change_to_the_same_changes_nothing() -> None:
    draft.given(created, revised).when(revise).then()
    draft.given(created).when(ReviseDraft(draft_id="d", changes=DraftContent())).then()


def test_a_draft_is_completed_abandoned_and_deleted() -> None:
    draft.given(created).when(complete).then(completed)
    draft.given(created).when(abandon).then(abandoned)
    draft.given(created).when(archive).then(archived)


@pytest.mark.parametrize("command", ALL, ids=lambda each: type(each).__name__)
def test_a_command_for_another_version_is_refused_and_told_which_it_is(
    command: DraftCommand,
) -> None:
    seen = draft.given(created, revised)
    for stale in (1, 3):
        refusal = seen.when(at(command, stale)).then(DraftHasChanged)
        assert refusal
        assert refusal.members["version"] == 2
        assert "version 2" in refusal.detail


def test_a_command_for_this_version_is_taken() -> None:
    draft.given(created).when(at(revise, 1)).then(revised)
    draft.given(created, revised).when(at(complete, 2)).then(completed)
    draft.given(created, revised).when(at(abandon, 2)).then(abandoned)
    draft.given(created, completed).when(at(archive, 2)).then(archived)


@pytest.mark.parametrize("command", CHANGING, ids=lambda each: type(each).__name__)
def test_what_has_ended_is_not_changed_any_more(command: DraftCommand) -> None:
    """Not even by who expects another version of it: that is not what is wrong."""
    for asked in (command, at(command, 1)):
        refusal = draft.given(created, completed).when(asked).then(DraftHasEnded)
        assert refusal
        assert "completed, deployed as echo" in refusal.detail
        refusal = draft.given(created, abandoned).when(asked).then(DraftHasEnded)
        assert refusal
        assert "abandoned" in refusal.detail


def test_what_has_ended_can_be_deleted() -> None:
    draft.given(created, completed).when(archive).then(archived)
    draft.given(created, abandoned).when(archive).then(archived)


@pytest.mark.parametrize("command", ALL, ids=lambda each: type(each).__name__)
def test_what_is_not_there_can_do_nothing(command: DraftCommand) -> None:
    draft.when(command).then(NotFound)
    draft.given(created, archived).when(command).then(NotFound)
    draft.given(created, completed, archived).when(command).then(NotFound)


def test_states() -> None:
    assert draft.state() == Absent()
    assert draft.given(created).state() == InProgress("w", FIRST, 1)
    assert draft.given(created, revised).state() == InProgress("w", SECOND, 2)
    ended = draft.given(created, revised, completed).state()
    assert ended == Ended("w", SECOND, 3, "completed", "echo")
    assert draft.given(created, abandoned).state() == Ended("w", FIRST, 2, "abandoned")
    assert draft.given(created, archived).state() == Archived(InProgress("w", FIRST, 1))
    assert draft.given(revised).state() == Absent()
    assert draft.given(created, abandoned, revised).state() == Ended("w", FIRST, 2, "abandoned")
