"""Deploying drafts: the deploy and the draft's end are one append, and there is one of it."""

import asyncio

import pytest
from msgspec.structs import replace

from adapters.event_store.store import Store
from domain.deploying import Deployed
from domain.drafts import (
    DRAFT,
    CompleteDraft,
    CreateDraft,
    DraftContent,
    DraftHasChanged,
    DraftHasEnded,
    Ended,
    ReviseDraft,
)
from domain.errors import ArgosyError, Invalid
from domain.handling import Commands, Unit
from tests.domain.test_deploying import ME, WANTED, Deploys

COMPLETES = CompleteDraft(draft_id="d1", agent_name="echo", expected_version=1)


@pytest.fixture
def deploys(commands: Commands) -> Deploys:
    return Deploys(commands)


async def begun_draft(commands: Commands) -> None:
    content = DraftContent(agent_name="echo")
    create = CreateDraft(draft_id="d1", workspace_id="w", content=content)
    await commands.send(DRAFT, "d1", create, ME)


async def test_a_draft_is_completed_by_the_same_append_that_deploys_it(
    deploys: Deploys, store: Store
) -> None:
    await begun_draft(deploys.commands)
    before = await store.head()

    await deploys.send(replace(WANTED, completes=COMPLETES))

    log = await store.read_all(after=before)
    assert [each.type for each in log] == [
        "draft.completed",
        "agent.created",
        "agent.version_drafted",
        "agent.version_ready",
        "deployment.created",
        "deployment.revision_made",
        "deployment.revision_ready",
    ]
    state = await Unit(store).state(DRAFT, "d1")
    assert isinstance(state, Ended)
    assert (state.how, state.agent_name) == ("completed", "echo")


async def test_a_deploy_that_is_refused_leaves_the_draft_as_it_was(
    deploys: Deploys, store: Store
) -> None:
    await begun_draft(deploys.commands)
    before = await store.head()

    with pytest.raises(Invalid):
        await deploys.send(replace(WANTED, completes=COMPLETES, binds=["nothing"]))

    assert await store.head() == before


async def test_a_draft_that_changed_since_it_was_read_is_not_deployed(
    deploys: Deploys, store: Store
) -> None:
    await begun_draft(deploys.commands)
    changes = DraftContent(agent_name="other")
    await deploys.commands.send(DRAFT, "d1", ReviseDraft(draft_id="d1", changes=changes), ME)
    before = await store.head()

    with pytest.raises(DraftHasChanged):
        await deploys.send(replace(WANTED, completes=COMPLETES))

    assert await store.head() == before


async def test_of_many_that_deploy_one_draft_exactly_one_does(store: Store) -> None:
    """In processes that do not queue up behind each other, and under names of their own."""
    await begun_draft(Commands(store))

    async def one(number: int) -> Deployed | ArgosyError:
        name = f"echo-{number}"
        completes = replace(COMPLETES, agent_name=name)
        try:
            return await Deploys(Commands(store), prefix=f"{number}-").send(
                replace(WANTED, name=name, completes=completes)
            )
        except ArgosyError as refusal:
            return refusal

    made = await asyncio.gather(*(one(number) for number in range(10)))

    assert sum(isinstance(each, Deployed) for each in made) == 1
    assert sum(isinstance(each, DraftHasEnded) for each in made) == 9
    types = [each.type for each in await store.read_all(after=0)]
    assert types.count("draft.completed") == types.count("agent.created") == 1
