"""Agents: every command in every state."""

import pytest

from domain.agents import (
    AGENT,
    Absent,
    Active,
    AgentArchived,
    AgentCommand,
    AgentCreated,
    AgentVersionDrafted,
    AgentVersionFailed,
    AgentVersionReady,
    ArchiveAgent,
    Archived,
    CreateAgent,
    DraftAgentVersion,
    FailAgentVersion,
    ReadyAgentVersion,
    Version,
)
from domain.errors import Conflict, NotFound
from domain.execution import Artifact, ImageDefinition
from tests.spec import Spec

agent = Spec(AGENT)
IMAGE = ImageDefinition(image="echo:1")
ARTIFACT = Artifact(base="plain", source="sha256:00")

created = AgentCreated(agent_id="a", workspace_id="w", name="echo")
drafted = AgentVersionDrafted(
    agent_id="a", version=1, definition=IMAGE, mode="IMAGE", reason="It is an image."
)
drafted_again = AgentVersionDrafted(
    agent_id="a", version=2, definition=IMAGE, mode="IMAGE", reason="It is an image."
)
ready = AgentVersionReady(agent_id="a", version=1, artifact=ARTIFACT)
failed = AgentVersionFailed(agent_id="a", version=1, detail="no such image")
archived = AgentArchived(agent_id="a")

create = CreateAgent(agent_id="a", workspace_id="w", name="echo")
draft = DraftAgentVersion(agent_id="a", definition=IMAGE, mode="IMAGE", reason="It is an image.")
make_ready = ReadyAgentVersion(agent_id="a", version=1, artifact=ARTIFACT)
fail = FailAgentVersion(agent_id="a", version=1, detail="no such image")
archive = ArchiveAgent(agent_id="a")


def test_an_agent_is_created() -> None:
    agent.when(create).then(created)


def test_an_id_is_used_once() -> None:
    agent.given(created).when(create).then(Conflict)
    agent.given(created, archived).when(create).then(Conflict)


@pytest.mark.parametrize("command", [draft, make_ready, fail, archive])
def test_nothing_happens_to_an_agent_that_is_not_there(command: AgentCommand) -> None:
    agent.when(command).then(NotFound)


def test_versions_are_numbered_from_one() -> None:
    agent.given(created).when(draft).then(drafted)
    agent.given(created, drafted).when(draft).then(drafted_again)


def test_a_draft_becomes_ready_or_fails() -> None:
    agent.given(created, drafted).when(make_ready).then(ready)
    agent.given(created, drafted).when(fail).then(failed)


def test_saying_it_twice_changes_nothing() -> None:
    agent.given(created, drafted, ready).when(make_ready).then()
    agent.given(created, drafted, failed).when(fail).then()


def test_what_is_decided_about_a_version_stays() -> None:
    agent.given(created, drafted, ready).when(fail).then(Conflict)
    agent.given(created, drafted, failed).when(make_ready).then(Conflict)


def test_a_version_has_to_exist() -> None:
    agent.given(created).when(make_ready).then(NotFound)
    agent.given(created).when(fail).then(NotFound)


def test_an_agent_is_archived_once() -> None:
    agent.given(created, drafted).when(archive).then(archived)
    agent.given(created, archived).when(archive).then()


@pytest.mark.parametrize("command", [draft, make_ready, fail])
def test_nothing_happens_to_a_deleted_agent(command: AgentCommand) -> None:
    agent.given(created, drafted, archived).when(command).then(NotFound)


def test_states() -> None:
    active = Active("w", "echo", {1: Version(IMAGE, "IMAGE", "It is an image.")})

    assert agent.state() == Absent()
    assert agent.given(drafted, ready, failed, archived).state() == Absent()
    assert agent.given(created).state() == Active("w", "echo")
    assert agent.given(created, drafted).state() == active
    assert agent.given(created, drafted, archived).state() == Archived(active)


def test_a_version_keeps_how_it_was_built() -> None:
    built = agent.given(created, drafted, ready).state()
    broken = agent.given(created, drafted, failed).state()

    assert isinstance(built, Active)
    assert isinstance(broken, Active)
    assert (built.versions[1].status, built.versions[1].artifact) == ("ready", ARTIFACT)
    assert (broken.versions[1].status, broken.versions[1].detail) == ("failed", "no such image")
    assert (built.latest, Active("w", "echo").latest) == (1, 0)
