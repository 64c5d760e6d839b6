"""Deployments: every command in every state."""

import pytest
from msgspec.structs import replace

from domain.deployments import (
    DEPLOYMENT,
    Absent,
    Active,
    Archived,
    ArchiveDeployment,
    CreateDeployment,
    DeploymentArchived,
    DeploymentCommand,
    DeploymentCreated,
    DeploymentEvent,
    FailRevision,
    MakeRevision,
    ReadyRevision,
    Revision,
    RevisionFailed,
    RevisionMade,
    RevisionReady,
    RollBack,
    Settings,
)
from domain.errors import Conflict, NotFound
from tests.spec import Spec

deployment = Spec(DEPLOYMENT)
SETTINGS = Settings(system_prompt="Be kind.")

created = DeploymentCreated(
    deployment_id="d", workspace_id="w", slug="echo", agent_id="a", agent_name="echo"
)
made = RevisionMade(deployment_id="d", revision=1, agent_version=1, settings=SETTINGS, build_id="b")
ready = RevisionReady(deployment_id="d", revision=1)
failed = RevisionFailed(deployment_id="d", revision=1, detail="no wheel")
archived = DeploymentArchived(deployment_id="d")

create = CreateDeployment(
    deployment_id="d", workspace_id="w", slug="echo", agent_id="a", agent_name="echo"
)
make = MakeRevision(deployment_id="d", agent_version=1, settings=SETTINGS, build_id="b")
make_ready = ReadyRevision(deployment_id="d", revision=1)
fail = FailRevision(deployment_id="d", revision=1, detail="no wheel")
archive = ArchiveDeployment(deployment_id="d")
roll_back = RollBack(deployment_id="d")

active = deployment.given(created)


def test_a_deployment_is_created_once() -> None:
    deployment.when(create).then(created)
    active.when(create).then(Conflict)
    active.given(archived).when(create).then(Conflict)


@pytest.mark.parametrize("command", [make, roll_back, make_ready, fail, archive])
def test_nothing_happens_to_a_deployment_that_is_not_there(command: DeploymentCommand) -> None:
    deployment.when(command).then(NotFound)


def test_a_revision_waits_for_its_build() -> None:
    active.when(make).then(made)
    active.given(made).when(make).then(replace(made, revision=2))


def test_a_revision_without_a_build_is_ready_at_once() -> None:
    active.when(replace(make, build_id="")).then(replace(made, build_id=""), ready)


def test_a_revision_becomes_ready_or_fails() -> None:
    active.given(made).when(make_ready).then(ready)
    active.given(made).when(fail).then(failed)


def test_saying_it_twice_changes_nothing() -> None:
    active.given(made, ready).when(make_ready).then()
    active.given(made, failed).when(fail).then()


def test_what_is_decided_about_a_revision_stays() -> None:
    active.given(made, ready).when(fail).then(Conflict)
    active.given(made, failed).when(make_ready).then(Conflict)


def test_a_revision_has_to_exist() -> None:
    active.when(make_ready).then(NotFound)
    active.when(fail).then(NotFound)


def test_a_deployment_is_archived_once() -> None:
    active.given(made).when(archive).then(archived)
    active.given(archived).when(archive).then()


@pytest.mark.parametrize("command", [make, make_ready, fail])
def test_nothing_happens_to_a_deleted_deployment(command: DeploymentCommand) -> None:
    active.given(made, archived).when(command).then(NotFound)


def test_the_newest_ready_revision_serves() -> None:
    def serving(*events: RevisionMade | RevisionReady | RevisionFailed) -> int:
        state = active.given(*events).state()
        assert isinstance(state, Active)
        return state.serving

    made_2, ready_2 = replace(made, revision=2), replace(ready, revision=2)

    assert serving() == 0
    assert serving(made) == 0
    assert serving(made, ready) == 1
    assert serving(made, ready, made_2) == 1
    assert serving(made, made_2, ready_2, ready) == 2
    assert serving(made, ready, made_2, replace(failed, revision=2)) == 1


def test_states() -> None:
    revision = Revision(1, SETTINGS, "b")

    assert deployment.state() == Absent()
    assert deployment.given(made, ready, failed, archived).state() == Absent()
    assert active.state() == Active("w", "echo", "a", "echo")
    assert active.given(made).state() == Active("w", "echo", "a", "echo", {1: revision})
    assert active.given(made, failed).state() == Active(
        "w", "echo", "a", "echo", {1: replace(revision, status="failed", detail="no wheel")}
    )
    assert active.given(archived).state() == Archived(Active("w", "echo", "a", "echo"))


def ready_as(revision: int, *, of: int = 0) -> list[DeploymentEvent]:
    """A revision that serves: a deploy of a version of its own, or a repetition of another."""
    version = of or revision
    made = RevisionMade(
        deployment_id="d",
        revision=revision,
        agent_version=version,
        settings=Settings(system_prompt=f"Be {version}."),
        rolled_back_to=of,
    )
    return [made, RevisionReady(deployment_id="d", revision=revision)]


def test_a_rollback_repeats_version_and_settings_and_waits_for_nothing() -> None:
    twice = active.given(*ready_as(1), *ready_as(2))

    twice.when(RollBack(deployment_id="d", to=1)).then(*ready_as(3, of=1))
    twice.when(roll_back).then(*ready_as(3, of=1))


def test_rolling_back_again_goes_further_back() -> None:
    thrice = active.given(*ready_as(1), *ready_as(2), *ready_as(3))

    once = thrice.given(*ready_as(4, of=2))
    once.when(roll_back).then(*ready_as(5, of=1))
    once.given(*ready_as(5, of=1)).when(roll_back).then(Conflict)


def test_only_what_was_ready_and_does_not_serve_already_is_gone_back_to() -> None:
    pending = active.given(*ready_as(1), replace(made, revision=2))

    pending.when(RollBack(deployment_id="d", to=2)).then(Conflict)
    pending.when(RollBack(deployment_id="d", to=3)).then(NotFound)
    lost = pending.given(replace(failed, revision=2))
    lost.when(RollBack(deployment_id="d", to=2)).then(Conflict)
    active.given(*ready_as(1)).when(RollBack(deployment_id="d", to=1)).then(Conflict)
    again = active.given(*ready_as(1), *ready_as(2), *ready_as(3, of=1))
    again.when(RollBack(deployment_id="d", to=1)).then(Conflict)
    active.given(archived).when(roll_back).then(NotFound)
    active.when(roll_back).then(Conflict)


def test_a_rollback_stands_although_a_build_from_before_it_ends_later() -> None:
    pending = active.given(*ready_as(1), replace(made, revision=2))
    pending.when(RollBack(deployment_id="d", to=1)).then(*ready_as(3, of=1))

    state = pending.given(*ready_as(3, of=1), replace(ready, revision=2)).state()

    assert isinstance(state, Active)
    assert state.serving == 3
