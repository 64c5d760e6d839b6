"""Any commands in any order: refused or decided, never a crash, and never an impossible state."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import agents, builds, catalog, deployments, drafts, execution, runs, workspaces
from domain.decider import Decider, Event
from domain.errors import ArgosyError
from domain.registry import FOLDING, decode, encode
from tests.fuzzing.effort import examples
from tests.goldens import example

numbers = st.integers(1, 3)
contents = st.builds(
    drafts.DraftContent,
    llm_configs=st.none()
    | st.lists(st.builds(deployments.ModelConfig, monthly_budget_usd=st.none()), max_size=2),
)

# Any: one strategy for all deciders; each is given commands of its own.
COMMANDS: dict[str, list[st.SearchStrategy[Any]]] = {
    "workspace": [
        st.builds(workspaces.CreateWorkspace),
        st.builds(workspaces.ArchiveWorkspace),
    ],
    "agent": [
        st.builds(agents.CreateAgent),
        st.builds(
            agents.DraftAgentVersion,
            definition=st.builds(execution.SourceDefinition)
            | st.builds(execution.ImageDefinition)
            | st.builds(
                execution.ConfigurationDefinition,
                files=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
            ),
        ),
        st.builds(agents.ReadyAgentVersion, version=numbers),
        st.builds(agents.FailAgentVersion, version=numbers),
        st.builds(agents.ArchiveAgent),
    ],
    "build": [
        st.builds(builds.RequestBuild),
        st.builds(builds.ClaimBuild),
        st.builds(builds.PlanBuild, plan=st.builds(builds.BuildPlanned, attempt=numbers)),
        st.builds(builds.LoseBuild, attempt=numbers),
        st.builds(builds.EndBuild, end=st.builds(builds.BuildEnded, attempt=numbers)),
    ],
    "deployment": [
        st.builds(deployments.CreateDeployment),
        st.builds(
            deployments.MakeRevision,
            settings=st.just(deployments.Settings()),
            build_id=st.sampled_from(["", "b"]),
        ),
        st.builds(deployments.ReadyRevision, revision=numbers),
        st.builds(deployments.FailRevision, revision=numbers),
        st.builds(deployments.ArchiveDeployment),
    ],
    "run": [
        st.builds(
            runs.RequestRun,
            request=st.builds(
                runs.RunRequested, history=st.just([]), context=st.just({}), max_attempts=numbers
            ),
        ),
        st.builds(runs.ClaimRun),
        st.builds(
            runs.StartRun,
            attempt=numbers,
            stages=st.dictionaries(st.text(max_size=5), st.floats(0, 1e9), max_size=3),
        ),
        st.builds(runs.AnchorRun),
        st.builds(runs.CancelRun),
        st.builds(runs.LoseRun, attempt=numbers),
        st.builds(runs.EndRun, end=st.builds(runs.RunEnded, attempt=numbers)),
    ],
    "tool": [
        st.builds(
            catalog.ApplyDocument,
            spec=st.builds(catalog.Tool)
            | st.builds(catalog.ApiKey, expires_at=st.floats(0, 1e300)),
        ),
        st.builds(catalog.ArchiveDocument),
    ],
    "draft": [
        st.builds(drafts.CreateDraft, content=contents),
        st.builds(drafts.ReviseDraft, changes=contents, expected_version=st.none() | numbers),
        st.builds(drafts.CompleteDraft, expected_version=st.none() | numbers),
        st.builds(drafts.AbandonDraft, expected_version=st.none() | numbers),
        st.builds(drafts.ArchiveDraft, expected_version=st.none() | numbers),
    ],
}
# Of each stream: its last event, after which nothing happens any more.
LAST = {
    *(workspaces.WorkspaceArchived, agents.AgentArchived, builds.BuildEnded),
    *(deployments.DeploymentArchived, runs.RunEnded, catalog.DocumentArchived),
    drafts.DraftArchived,
}
DECIDERS: list[Decider[Any, Any, Any]] = [
    workspaces.WORKSPACE,
    agents.AGENT,
    builds.BUILD,
    deployments.DEPLOYMENT,
    runs.RUN,
    catalog.TOOL,
    drafts.DRAFT,
]


@pytest.mark.parametrize("decider", DECIDERS, ids=lambda each: each.category)
@given(data=st.data())
@settings(max_examples=examples(100))
def test_any_commands_in_any_order(decider: Decider[Any, Any, Any], data: st.DataObject) -> None:
    """What is decided can be stored, read and folded; asking again after a refusal is the same."""
    history: list[Event] = []
    state = decider.initial
    for command in data.draw(st.lists(st.one_of(COMMANDS[decider.category]), max_size=12)):
        try:
            events = decider.decide(command, state)
        except ArgosyError as refusal:
            with pytest.raises(type(refusal)):
                decider.decide(command, state)
            continue
        for event in events:
            assert decode(event.tag(), 1, encode(event)) == event
        history += events
        state = decider.fold(events, state)

    assert decider.fold(history) == state
    check(history)


def check(history: list[Event]) -> None:
    """What ended stays so and ends once; what is counted goes up by one; one attempt at a time."""
    assert not LAST & {type(event) for event in history[:-1]}
    attempts, versions, revisions = 0, 0, 0
    for event in history:
        match event:
            case runs.RunClaimed(attempt=attempt) | builds.BuildClaimed(attempt=attempt):
                attempts += 1
                assert attempt == attempts
            case (
                runs.RunStarted(attempt=attempt)
                | runs.RunRetried(attempt=attempt)
                | runs.RunEnded(attempt=attempt)
                | builds.BuildPlanned(attempt=attempt)
                | builds.BuildRetried(attempt=attempt)
                | builds.BuildEnded(attempt=attempt)
            ):
                assert attempt == attempts
            case agents.AgentVersionDrafted(version=version):
                versions += 1
                assert version == versions
            case deployments.RevisionMade(revision=revision):
                revisions += 1
                assert revision == revisions
            case _:
                pass


@pytest.mark.parametrize("decider", DECIDERS, ids=lambda each: each.category)
def test_folding_never_argues(decider: Decider[Any, Any, Any]) -> None:
    """Before its stream has begun, an event of the category changes nothing and breaks nothing."""
    prefix = "document" if decider.category == "tool" else decider.category
    mine = [each for each in FOLDING if each.tag().startswith(f"{prefix}.")]
    began = [
        each for each in mine if decider.evolve(decider.initial, example(each)) != decider.initial
    ]

    assert len(mine) > 1
    assert [each.tag() for each in began] == [mine[0].tag()]


def test_every_folding_event_has_a_decider() -> None:
    categories = {each.category for each in DECIDERS} | {"document"}

    assert {each.tag().partition(".")[0] for each in FOLDING} <= categories
