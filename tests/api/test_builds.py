"""Builds over HTTP: cancel."""

from domain.builds import BuildCancelRequested, BuildClaimed, BuildEnded, BuildStep
from tests.api.conftest import Api

NEEDS_BUILD = {"files": {"agent.py": "print(1)"}, "requirements": "six"}


async def requested(api: Api) -> str:
    """Deploy what has to be built; returns the build's id."""
    return (await api.deploy(source=NEEDS_BUILD))["build_id"]


async def test_a_waiting_build_is_cancelled_at_once(api: Api) -> None:
    id = await requested(api)
    before = await api.services.store.head()

    answer = await api.ask("POST", f"/v1/builds/{id}/cancel", json={"detail": "enough"})
    again = await api.ask("POST", f"/v1/builds/{id}/cancel")

    assert answer.status_code == again.status_code == 202
    assert (answer.json()["status"], answer.json()["detail"]) == ("cancelled", "enough")
    assert await api.new_types(before) == [
        "build.ended",
        "agent.version_failed",
        "deployment.revision_failed",
    ]
    assert (await api.ask("GET", f"/v1/builds/{id}")).json() == answer.json()


async def test_a_running_build_is_asked_to_end(api: Api) -> None:
    id = await requested(api)
    await api.append(f"build-{id}", BuildClaimed(build_id=id, attempt=1, worker="w"))
    before = await api.services.store.head()

    answer = await api.ask("POST", f"/v1/builds/{id}/cancel")
    again = await api.ask("POST", f"/v1/builds/{id}/cancel")

    assert answer.json()["status"] == again.json()["status"] == "cancelling"
    assert await api.new_types(before) == [BuildCancelRequested.tag()]
    [row] = (await api.ask("GET", "/v1/workspaces/default/builds")).json()["items"]
    assert row["status"] == "cancelling"


async def test_a_build_that_has_ended_is_not_cancelled(api: Api) -> None:
    id = await requested(api)
    steps = [BuildStep(name="plan", milliseconds=1.5)]
    await api.append(f"build-{id}", BuildEnded(build_id=id, how="succeeded", steps=steps))

    answer = await api.ask("POST", f"/v1/builds/{id}/cancel")

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/build-already-ended"
    shown = (await api.ask("GET", f"/v1/builds/{id}")).json()
    assert shown["steps"] == [{"name": "plan", "milliseconds": 1.5}]
