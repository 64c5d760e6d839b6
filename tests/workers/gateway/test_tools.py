"""Calls of tools: judged, written down before anything leaves, forwarded as they were judged."""

import hashlib

import pytest

from domain.catalog import Capability, Policy, Rule, Tool
from domain.urls import MAX_PATH_CHARACTERS
from tests.workers.gateway.doors import ALLOW_ALL, open_door, web
from tests.workers.gateway.services import answer, answer_json, reflect, serving
from tests.workers.worlds import World

ECHO = Tool(base_url="http://echo-tool.argosy.internal", serves="echo")


@pytest.fixture
def world(quiet_world: World) -> World:
    return quiet_world


async def test_the_echo_tool_echoes_and_both_sides_of_the_call_are_in_the_stream(
    world: World,
) -> None:
    async with open_door(world, tools={"echo-tool": ECHO}) as door:
        answered = await door.agent.post("/echo-tool/echo", json={"message": "hello tool"})

        assert answered.status_code == 200
        assert answered.json() == {
            "reply": "hello tool",
            "echo": "hello tool",
            "path": "/echo",
            "method": "POST",
            "end_user": "anonymous",
        }
        requested, responded = await door.requested(), await door.responded()
    assert (requested.tool, requested.method, requested.path) == ("echo-tool", "POST", "/echo")
    assert (requested.decision, requested.rule) == ("allow", "all#1")
    assert requested.payload_hash == hashlib.sha256(b'{"message":"hello tool"}').hexdigest()
    assert (responded.call_id, responded.status) == (requested.call_id, 200)
    assert responded.response_bytes == len(answered.content)
    assert responded.error == ""


@pytest.mark.parametrize(
    ("body", "reply"),
    [(b"", ""), (b"plain", "plain"), (b"[1]", "[1]"), (b'{"message": {"a": 1}}', {"a": 1})],
)
async def test_the_echo_tool_echoes_whatever_it_is_sent(
    world: World, body: bytes, reply: object
) -> None:
    async with open_door(world, tools={"echo-tool": ECHO}, user_id="ada") as door:
        answered = await door.agent.put("/echo-tool", content=body)

    assert (answered.json()["reply"], answered.json()["path"]) == (reply, "/")
    assert answered.json()["end_user"] == "ada"


async def test_without_a_policy_a_call_is_denied_and_seen_and_the_run_goes_on(
    world: World,
) -> None:
    async with serving(reflect) as service:
        tools = {"web": Tool(base_url=service.url), "echo-tool": ECHO}
        async with open_door(world, tools=tools, policies={}) as door:
            answered = await door.agent.post("/echo-tool/echo", json={"message": "x"})
            again = await door.agent.get("/web/x")

            entries = await door.entries()
    assert answered.status_code == again.status_code == 403
    assert answered.json() == {
        "code": "POLICY_DENIED",
        "error": "No policy is bound to this agent, so nothing allows POST /echo of echo-tool.",
        "tool": "echo-tool",
        "rule": "",
    }
    assert [(each.tool, each.decision) for each in entries] == [
        ("echo-tool", "deny"),
        ("web", "deny"),
    ]
    assert entries[0].detail == answered.json()["error"]
    assert service.asked == []
    assert door.ends == []


async def test_a_denying_rule_is_named(world: World) -> None:
    denies = Rule(permission="deny", resource="*", operations=["DELETE"])
    policies = {"p": Policy(rules=[*ALLOW_ALL.rules, denies])}
    async with open_door(world, tools={"echo-tool": ECHO}, policies=policies) as door:
        answered = await door.agent.delete("/echo-tool/things/1")

        requested = await door.requested()
    assert (answered.status_code, answered.json()["rule"]) == (403, "p#2")
    assert (requested.rule, requested.detail) == (
        "p#2",
        "Rule p#2 denies DELETE /things/1 of echo-tool.",
    )


async def test_what_needs_an_approval_is_not_done_and_ends_the_run(world: World) -> None:
    asks = Rule(permission="approval_required", resource="*", operations=["POST"])
    async with serving(reflect) as service:
        tools, policies = {"web": Tool(base_url=service.url)}, {"p": Policy(rules=[asks])}
        async with open_door(world, tools=tools, policies=policies) as door:
            answered = await door.agent.post("/web/refunds", json={"amount": 5})

            requested = await door.requested()
    message = (
        "Rule p#1 asks for approval of POST /refunds of web."
        " Nobody can be asked for approvals yet, so the run ends."
    )
    assert answered.status_code == 403
    assert answered.json() == {
        "code": "APPROVAL_REQUIRED",
        "action_id": requested.call_id,
        "run_id": door.session.run_id,
        "tool": "web",
        "message": message,
    }
    assert door.ends == [("policy_denied", message)]
    assert (requested.decision, requested.rule) == ("approval_required", "p#1")
    assert service.asked == []


async def test_a_policy_counts_as_it_is_now(world: World) -> None:
    async with open_door(world, tools={"echo-tool": ECHO}) as door:
        assert (await door.agent.get("/echo-tool/x")).status_code == 200

        del door.shelf.bound["all"]
        gone = await door.agent.get("/echo-tool/x")
        assert gone.status_code == 403
        assert "Policy all does not exist any more" in gone.json()["error"]

        door.shelf.bound["all"] = Policy(rules=[Rule(permission="deny", resource="*")])
        assert (await door.agent.get("/echo-tool/x")).json()["rule"] == "all#1"


async def test_a_tool_that_the_deployment_does_not_name_is_refused_and_seen(world: World) -> None:
    async with open_door(world, tools={"echo-tool": ECHO}) as door:
        door.shelf.tools["other"] = ECHO
        answered = await door.agent.get("/other/x")

        requested = await door.requested()
    assert answered.status_code == 403
    assert "'other'" in answered.json()["error"]
    assert "required_tools" in answered.json()["error"]
    assert (requested.tool, requested.decision) == ("other", "deny")
    assert requested.detail == answered.json()["error"]


async def test_a_tool_that_was_deleted_is_not_found(world: World) -> None:
    async with open_door(world, tools={"echo-tool": ECHO}) as door:
        door.shelf.tools.clear()
        answered = await door.agent.get("/echo-tool/x")

        assert (await door.requested()).decision == "deny"
    assert answered.status_code == 404
    assert "echo-tool" in answered.json()["error"]


async def test_what_is_not_a_capability_is_denied(world: World) -> None:
    reads = Capability(name="reads", method="GET", path="/v1/*")
    async with serving(reflect) as service:
        tools = {"web": Tool(base_url=service.url, capabilities=[reads])}
        async with open_door(world, tools=tools) as door:
            assert (await door.agent.get("/web/v1/x")).status_code == 200
            assert (await door.agent.post("/web/v1/x")).status_code == 403
            assert (await door.agent.get("/web/v2")).status_code == 403

    assert [asked.target for asked in service.asked] == ["/v1/x"]


async def test_a_call_arrives_as_it_was_judged(world: World) -> None:
    async with serving(reflect) as service:
        tools = {"web": Tool(base_url=f"{service.url}/base/")}
        async with open_door(world, tools=tools) as door:
            await door.agent.patch("/web/a%2fb/%7ec;d=1?q=a%20b&q=%c3%a4&e", content=b"\x00body")

            requested = await door.requested()
    (asked,) = service.asked
    assert asked.method == "PATCH"
    assert asked.target == "/base/a%2Fb/~c;d=1?q=a%20b&q=%c3%a4&e"
    assert asked.body == b"\x00body"
    assert requested.path == "/a%2Fb/~c;d=1"
    assert "q=" not in str(requested)


@pytest.mark.parametrize(
    "path", ["/admin/%2e%2e%2fx", "/a/..;/x", "/a/..%5cx", "/a%00", "/" + "a" * 5000]
)
async def test_a_path_in_disguise_is_refused_and_seen(world: World, path: str) -> None:
    async with web(world, reflect) as (service, door):
        answered = await door.agent.get(f"/web{path}")

        requested = await door.requested()
    assert answered.status_code == 422
    assert requested.decision == "deny"
    assert requested.path == path[:MAX_PATH_CHARACTERS]
    assert service.asked == []


async def test_an_agent_does_not_say_who_it_is_or_what_it_means(world: World) -> None:
    told = {
        "X-End-User-ID": "root",
        "X_End_User_Id": "root",
        "X-Run-ID": "other",
        "X-Request-Id": "other",
        "X-HTTP-Method-Override": "DELETE",
        "X-Method-Override": "DELETE",
        "X-Original-URL": "/admin",
        "X-Rewrite-URL": "/admin",
        "X-Forwarded-For": "127.0.0.1",
        "Forwarded": "for=127.0.0.1",
        "Connection": "keep-alive, x-hop",
        "X-Hop": "1",
        "TE": "trailers",
        "X-Tool-Call-Id": "call-1",
        "X-Custom": "kept",
        "Authorization": "Bearer own",
    }
    async with serving(reflect) as service:
        tools = {"web": Tool(base_url=service.url)}
        async with open_door(world, tools=tools, user_id="ada ä\r\n") as door:
            answered = await door.agent.get("/web/x", headers=told)

            requested, run_id = await door.requested(), door.session.run_id
    sent = answered.json()["headers"]
    assert sent["x-end-user-id"] == "ada %C3%A4%0D%0A"
    assert (sent["x-run-id"], sent["x-request-id"]) == (run_id, requested.call_id)
    assert (sent["x-tool-call-id"], sent["x-custom"]) == ("call-1", "kept")
    assert sent["authorization"] == "Bearer own"  # to a tool without a credential of its own
    assert sent["host"] == service.url.removeprefix("http://")
    assert not {"DELETE", "/admin", "root", "other", "trailers"} & set(sent.values())
    assert not any(name.startswith(("x-forwarded", "forwarded", "x-hop")) for name in sent)


async def test_a_user_that_is_not_known_is_not_made_up(world: World) -> None:
    async with web(world, reflect) as (_, door):
        answered = await door.agent.get("/web/x", headers={"X-End-User-ID": "root"})

    assert "x-end-user-id" not in answered.json()["headers"]


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_methods_that_are_no_calls_are_refused(world: World, method: str) -> None:
    async with open_door(world, tools={"echo-tool": ECHO}) as door:
        answered = await door.agent.request(method, "/echo-tool/x")

    assert answered.status_code in {400, 403}


async def test_a_redirect_is_passed_on_and_not_followed(world: World) -> None:
    async with web(world, answer(b"there", 302, location="https://elsewhere.example/x")) as (
        service,
        door,
    ):
        answered = await door.agent.get("/web/x")

    assert (answered.status_code, len(service.asked)) == (302, 1)
    assert answered.headers["location"] == "https://elsewhere.example/x"


async def test_a_tools_own_errors_are_the_agents(world: World) -> None:
    async with web(world, answer_json({"detail": "no"}, 418, x_why="tea")) as (_, door):
        answered = await door.agent.get("/web/x")

        assert (await door.responded()).status == 418
    assert (answered.status_code, answered.json()) == (418, {"detail": "no"})
    assert answered.headers["x-why"] == "tea"
