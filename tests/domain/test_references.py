"""Which blobs the log needs: of agents and workspaces that were deleted, and of what is history."""

from typing import Any

import pytest
from msgspec.structs import replace

from domain.agents import AgentArchived, AgentCreated, AgentVersionDrafted, AgentVersionReady
from domain.builds import BuildEnded, BuildRequested
from domain.decider import Event, Recorded, Unknown
from domain.errors import WrittenByNewer
from domain.execution import Artifact, Image, SourceDefinition
from domain.references import References
from domain.runs import RunEnded, RunFile, RunRequested
from domain.workspaces import WorkspaceArchived
from tests.recording import record


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


OLD, NEW, LAYER, OUTPUT, LEFT = map(digest, range(1, 6))
CREATED = AgentCreated(agent_id="a", workspace_id="w", name="echo")
ARCHIVED = AgentArchived(agent_id="a")
BUILD_WANTED = BuildRequested(
    build_id="b",
    workspace_id="w",
    agent_id="a",
    agent_name="echo",
    version=2,
    deployment_id="d",
    revision=2,
    mode="FAST_OVERLAY",
)
BUILT = BuildEnded(
    build_id="b",
    how="succeeded",
    artifact=Artifact(base="base", source=digest(9), dependencies=LAYER),
)
ASKED = RunRequested(
    run_id="r",
    workspace_id="w",
    agent_id="a",
    agent_name="echo",
    deployment_id="d",
    slug="echo",
    revision=1,
    message="x",
)
ENDED = RunEnded(
    run_id="r",
    how="completed",
    output_digest=OUTPUT,
    files=[RunFile(path="out.txt", digest=LEFT, size=1)],
)


def drafted(version: int, blob: str) -> AgentVersionDrafted:
    return AgentVersionDrafted(
        agent_id="a",
        version=version,
        definition=SourceDefinition(files={"agent.py": blob}, entry_point="agent.py"),
        mode="INSTANT_RUNTIME",
        reason="",
    )


def recorded(event: Event, data: bytes = b"") -> Recorded[Any]:
    category = event.tag().split(".", maxsplit=1)[0]
    ids = {"agent": "a", "build": "b", "run": "r", "workspace": "w"}
    return record(event, f"{category}-{ids.get(category, 'x')}", data=data)


def needed(*events: Event) -> set[str]:
    references = References()
    for event in events:
        references.see(recorded(event))
    return references.needed() & {OLD, NEW, LAYER, OUTPUT, LEFT}


def test_every_version_of_an_agent_is_needed_for_a_rollback() -> None:
    assert needed(CREATED, drafted(1, OLD), drafted(2, NEW)) == {OLD, NEW}


def test_a_layer_is_needed_from_the_build_on_that_made_it() -> None:
    ready = AgentVersionReady(agent_id="a", version=2, artifact=BUILT.artifact)

    assert needed(CREATED, BUILD_WANTED, BUILT) == {LAYER}
    assert needed(CREATED, BUILD_WANTED, BUILT, ready) == {LAYER}


def test_an_image_is_needed_as_long_as_its_version_is() -> None:
    image = Image(manifest=OLD, config=NEW, layers=[LAYER, OUTPUT])
    artifact = Artifact(base="base", source=digest(9), image=image)
    ready = AgentVersionReady(agent_id="a", version=1, artifact=artifact)

    assert needed(CREATED, ready) == {OLD, NEW, LAYER, OUTPUT}
    assert needed(CREATED, ready, ARCHIVED) == set()


@pytest.mark.parametrize("deleted", [ARCHIVED, WorkspaceArchived(workspace_id="w")])
def test_what_was_deleted_needs_nothing_but_its_history(deleted: Event) -> None:
    before = (CREATED, drafted(1, OLD), BUILD_WANTED, BUILT, ASKED, ENDED)

    assert needed(*before) == {OLD, LAYER, OUTPUT, LEFT}
    assert needed(*before, deleted) == {OUTPUT, LEFT}


@pytest.mark.parametrize(("asked", "ended"), [(ASKED, ENDED), (BUILD_WANTED, BUILT)])
def test_a_run_or_build_under_way_needs_what_was_deleted_until_it_ends(
    asked: Event, ended: Event
) -> None:
    before = (CREATED, drafted(1, OLD), asked, ARCHIVED)

    assert OLD in needed(*before)
    assert OLD not in needed(*before, ended)


def test_blobs_of_another_agent_stay() -> None:
    other = References()
    other.see(recorded(CREATED))
    other.see(recorded(drafted(1, OLD)))
    other.see(recorded(ARCHIVED))
    second = recorded(drafted(1, OLD))
    other.see(replace(second, stream="agent-another"))

    assert other.needed() == {OLD}


def test_a_log_with_events_of_a_newer_version_is_not_judged() -> None:
    with pytest.raises(WrittenByNewer):
        References().see(recorded(Unknown(), b'{"type":"agent.restored"}'))
