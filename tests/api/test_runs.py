"""Runs over HTTP: request, list, cancel, page, download."""

from domain.entries import LogWritten, MessageSaid
from domain.runs import RunClaimed, RunEnded, RunFile, RunStarted, Usage
from tests.api.conftest import Api


async def test_a_run_is_requested(api: Api) -> None:
    await api.deploy()
    before = await api.services.store.head()
    path = "/v1/workspaces/default/deployments/echo/runs"

    answer = await api.ask("POST", path, json={"message": "hi", "context": {"a": [1]}})

    assert answer.status_code == 202
    assert await api.new_types(before) == ["run.requested"]
    run = answer.json()
    assert (run["status"], run["message"], run["version"]) == ("waiting", "hi", 1)
    assert run["created_at"].endswith("Z")
    assert (await api.ask("GET", f"/v1/runs/{run['id']}")).json() == run
    [row] = (await api.ask("GET", "/v1/workspaces/default/runs")).json()["items"]
    assert row == run


async def test_a_deployment_that_is_not_there(api: Api) -> None:
    path = "/v1/workspaces/default/deployments/nothing/runs"

    assert (await api.ask("POST", path, json={"message": "x"})).status_code == 404


async def test_a_run_waits_for_its_build(api: Api) -> None:
    made = await api.deploy(source={"files": {"agent.py": ""}, "requirements": "six"})

    run = await api.request_run()

    [event] = (await api.ask("GET", f"/v1/runs/{run['id']}/events")).json()["items"]
    assert event["build_id"] == made["build_id"]


async def test_a_run_that_ended_shows_everything(api: Api) -> None:
    await api.deploy()
    run = await api.request_run()
    id = run["id"]
    digest = await api.services.blobs.put(b"<b>made</b>")
    end = RunEnded(
        run_id=id,
        how="failed",
        reason="exit_nonzero",
        detail="It exited with 3.",
        attempt=1,
        exit_code=3,
        output="so far",
        files=[RunFile(path="out/a b.html", digest=digest, size=11)],
        usage=Usage(seconds=1.5, input_tokens=7),
    )
    await api.append(
        f"run-{id}",
        RunClaimed(run_id=id, attempt=1, worker="w"),
        RunStarted(run_id=id, attempt=1, sandbox="s"),
        MessageSaid(text="hello"),
        LogWritten(stream="stderr", line="oh"),
        end,
    )

    shown = (await api.ask("GET", f"/v1/runs/{id}")).json()

    assert shown["status"] == "failed"
    assert shown["reason"] == "exit_nonzero"
    assert shown["exit_code"] == 3
    assert shown["usage"]["seconds"] == 1.5
    assert shown["usage"]["output_tokens"] == 0
    assert shown["created_at"] <= shown["started_at"] <= shown["ended_at"]
    assert shown["version"] == 6
    files = (await api.ask("GET", f"/v1/runs/{id}/files")).json()["items"]
    assert files == [{"path": "out/a b.html", "digest": digest, "size": 11}]
    file = await api.ask("GET", f"/v1/runs/{id}/files/out/a%20b.html")
    assert file.content == b"<b>made</b>"
    assert file.headers["content-type"] == "application/octet-stream"
    assert file.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20b.html"
    assert file.headers["x-content-type-options"] == "nosniff"
    assert file.headers["content-length"] == "11"
    assert (await api.ask("GET", f"/v1/runs/{id}/files/nothing")).status_code == 404
    first = (await api.ask("GET", f"/v1/runs/{id}/events?limit=4")).json()
    rest = (await api.ask("GET", f"/v1/runs/{id}/events?after={first['next_after']}")).json()
    assert rest["next_after"] is None
    assert [each["type"] for each in (*first["items"], *rest["items"])] == [
        "status",
        "status",
        "status",
        "message",
        "log",
        "complete",
    ]
    listed = (await api.ask("GET", "/v1/workspaces/default/runs?status=failed")).json()
    assert [each["id"] for each in listed["items"]] == [id]
    assert (await api.ask("GET", "/v1/workspaces/default/runs?status=waiting")).json()[
        "items"
    ] == []


async def test_a_waiting_run_is_cancelled_at_once(api: Api) -> None:
    await api.deploy()
    run = await api.request_run()
    before = await api.services.store.head()

    answer = await api.ask("POST", f"/v1/runs/{run['id']}/cancel", json={"detail": "enough"})

    assert answer.status_code == 202
    assert await api.new_types(before) == ["run.ended"]
    assert answer.json()["status"] == "cancelled"
    assert answer.json()["detail"] == "enough"


async def test_a_running_run_is_asked_to_end(api: Api) -> None:
    await api.deploy()
    run = await api.request_run()
    id = run["id"]
    await api.append(
        f"run-{id}",
        RunClaimed(run_id=id, attempt=1, worker="w"),
        RunStarted(run_id=id, attempt=1, sandbox="s"),
    )
    before = await api.services.store.head()

    answer = await api.ask("POST", f"/v1/runs/{id}/cancel")
    again = await api.ask("POST", f"/v1/runs/{id}/cancel")

    assert answer.json()["status"] == again.json()["status"] == "cancelling"
    assert await api.new_types(before) == ["run.cancel_requested"]


async def test_a_run_that_has_ended_is_not_cancelled(api: Api) -> None:
    await api.deploy()
    run = await api.request_run()
    id = run["id"]
    await api.append(f"run-{id}", RunEnded(run_id=id, how="completed"))

    answer = await api.ask("POST", f"/v1/runs/{id}/cancel")

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/run-already-ended"
    assert answer.json()["ended"] == "completed"


async def test_runs_are_narrowed_by_deployment_and_agent(api: Api) -> None:
    await api.deploy("one")
    await api.deploy("two")
    first = await api.request_run("one")
    await api.request_run("two")
    path = "/v1/workspaces/default/runs"

    for query in (
        {"deployment": "one"},
        {"agent": "one"},
        {"agent": first["agent_id"]},
        {"deployment": first["deployment_id"], "status": "waiting"},
    ):
        listed = (await api.ask("GET", path, params=query)).json()["items"]
        assert [each["id"] for each in listed] == [first["id"]], query
