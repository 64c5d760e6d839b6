"""The log and single streams, as auditors read them."""

from domain.entries import MessageSaid
from domain.runs import RunClaimed, RunEnded
from tests.api.conftest import Api


async def test_the_log_pages_in_order_without_gaps(api: Api) -> None:
    await api.deploy()
    await api.request_run()
    seen: list[int] = []
    after = 0
    while True:
        page = (await api.ask("GET", f"/v1/events?after={after}&limit=3")).json()
        seen += [each["position"] for each in page["items"]]
        if page["next_after"] is None:
            break
        after = page["next_after"]

    assert seen == list(range(1, page["position"] + 1))
    assert page["position"] == await api.services.store.head()


async def test_the_log_is_narrowed(api: Api) -> None:
    await api.deploy()
    run = await api.request_run()
    other = await api.request_run()

    typed = (await api.ask("GET", "/v1/events?type=run.requested&type=agent.created")).json()
    one = (await api.ask("GET", f"/v1/events?stream=run-{run['id']}")).json()

    assert [each["type"] for each in typed["items"]] == [
        "agent.created",
        "run.requested",
        "run.requested",
    ]
    assert [each["data"]["run_id"] for each in typed["items"][1:]] == [run["id"], other["id"]]
    [event] = one["items"]
    assert event["data"] == {
        "type": "run.requested",
        "run_id": run["id"],
        "workspace_id": run["workspace_id"],
        "agent_id": run["agent_id"],
        "agent_name": "echo",
        "deployment_id": run["deployment_id"],
        "slug": "echo",
        "revision": 1,
        "message": "hi",
    }
    assert event["actor"].startswith("key:")
    assert event["correlation_id"]


async def test_a_stream_is_replayed_to_any_version(api: Api) -> None:
    await api.deploy()
    run = await api.request_run()
    id = run["id"]
    stream = f"run-{id}"
    await api.append(
        stream,
        RunClaimed(run_id=id, attempt=1, worker="w"),
        MessageSaid(text="one"),
        MessageSaid(text="two"),
        RunEnded(run_id=id, how="completed", attempt=1, output="two"),
    )

    page = (await api.ask("GET", f"/v1/streams/{stream}/events?limit=3")).json()
    rest = (await api.ask("GET", f"/v1/streams/{stream}/events?after=3&limit=3")).json()
    now = (await api.ask("GET", f"/v1/streams/{stream}")).json()
    then = (await api.ask("GET", f"/v1/streams/{stream}?at=3")).json()
    never = (await api.ask("GET", f"/v1/streams/{stream}?at=0")).json()

    assert [each["version"] for each in page["items"]] == [1, 2, 3]
    assert page["items"][2]["position"] is None
    assert page["next_after"] == 3
    assert [each["type"] for each in rest["items"]] == ["run.message_said", "run.ended"]
    assert rest["next_after"] is None
    assert (now["version"], now["folding_version"]) == (5, 5)
    assert now["state"]["kind"] == "ended"
    assert now["state"]["end"]["how"] == "completed"
    assert (then["version"], then["folding_version"]) == (3, 2)
    assert then["state"]["kind"] == "running"
    assert "end" not in then["state"]
    assert never["state"] == {"kind": "absent"}


async def test_an_id_without_its_kind_is_no_stream_and_the_refusal_says_how_to_name_one(
    api: Api,
) -> None:
    await api.deploy()
    id = (await api.request_run())["id"]

    answer = await api.ask("GET", f"/v1/streams/{id}")

    assert answer.status_code == 404
    assert answer.json()["detail"] == (
        f"There is no stream '{id}'. A stream is named by what it is of and its id: "
        "run-ID, build-ID, agent-ID, deployment-ID."
    )


async def test_every_kind_of_stream_is_shown(api: Api) -> None:
    made = await api.deploy(source={"files": {"agent.py": ""}, "requirements": "six"})
    key = (await api.ask("GET", "/v1/whoami")).json()["key_id"]
    streams = {
        f"agent-{made['agent_id']}": "active",
        f"deployment-{made['deployment']['id']}": "active",
        f"build-{made['build_id']}": "waiting",
        f"workspace-{await api.workspace_id()}": "active",
        f"api_key-{key}": "active",
    }

    for stream, kind in streams.items():
        shown = await api.ask("GET", f"/v1/streams/{stream}")
        assert shown.status_code == 200, stream
        assert shown.json()["state"]["kind"] == kind
