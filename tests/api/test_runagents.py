"""The RunAgents dialect, generation v0: bodies, envelopes and errors as the original documents."""

import json
from typing import Any

import pytest

from domain.catalog import ApiKeyPlace, DocumentApplied, Tool
from domain.entries import MessageSaid, ToolCalled, ToolReturned
from domain.runs import RunClaimed, RunEnded, RunStarted
from tests.api.conftest import Api

# The published example, word for word.
EXAMPLE: dict[str, Any] = {
    "agent_name": "billing-agent",
    "source_files": {"agent.py": 'print("hello")'},
    "required_tools": ["stripe-api"],
    "llm_configs": [{"provider": "openai", "model": "gpt-4o-mini", "role": "chat"}],
    "policies": ["billing-stripe-policy"],
    "entry_point": "agent.py",
    "requirements": "runagents>=0.2.0\n",
}


@pytest.fixture
async def api(api: Api) -> Api:
    """What the published example names is there already."""
    tool = {"name": "stripe-api", "base_url": "https://api.stripe.com"}
    rule = {"permission": "allow", "resource": "https://api.stripe.com/*", "operations": ["GET"]}
    policy = {"name": "billing-stripe-policy", "spec": {"policies": [rule]}}
    for path, body in (("tools", tool), ("policies", policy)):
        assert (await api.ask("POST", f"/api/{path}", json=body)).status_code == 201
    return api


async def test_the_published_example_answers_what_is_documented(api: Api) -> None:
    answer = await api.ask("POST", "/api/deploy", json=EXAMPLE)

    assert answer.status_code == 201
    deployed = answer.json()
    assert deployed["agent"] == deployed["agent_name"] == "billing-agent"
    assert deployed["namespace"] == "default"
    assert deployed["tools_created"] == []
    assert deployed["execution_mode"] == "INSTANT_RUNTIME"
    assert deployed["build_required"] is False
    assert deployed["build_profile"] == "instant"
    assert deployed["decision_reason"]
    assert deployed["status"] == "created"
    assert "build_id" not in deployed
    assert "image_uri" not in deployed


async def test_the_same_name_updates_in_place(api: Api) -> None:
    await api.ask("POST", "/api/deploy", json=EXAMPLE)
    changed = EXAMPLE | {"source_files": {"agent.py": 'print("changed")'}}

    answer = await api.ask("POST", "/api/deploy", json=changed)

    assert answer.status_code == 201
    assert answer.json()["status"] == "updated"
    agents = (await api.ask("GET", "/v1/workspaces/default/agents")).json()["items"]
    assert [(each["name"], each["latest_version"]) for each in agents] == [("billing-agent", 2)]


async def test_a_redeploy_keeps_what_it_does_not_mention(api: Api) -> None:
    first = EXAMPLE | {"system_prompt": "Be kind.", "env": [{"name": "A", "value": "b"}]}
    await api.ask("POST", "/api/deploy", json=first)
    slim = {"agent_name": "billing-agent", "source_files": {"agent.py": "print(2)"}}

    await api.ask("POST", "/api/deploy", json=slim | {"policies": []})

    shown = (await api.ask("GET", "/v1/workspaces/default/deployments/billing-agent")).json()
    settings = shown["revisions"][-1]["settings"]
    assert settings["system_prompt"] == "Be kind."
    assert settings["environment"] == {"A": "b"}
    assert settings["required_tools"] == ["stripe-api"]
    assert "policies" not in settings


async def test_requirements_take_the_build_path(api: Api) -> None:
    body = {
        "agent_name": "chain",
        "source_files": {"agent.py": "import langchain", "requirements.txt": "langchain\n"},
        "framework": "langchain",
    }

    deployed = (await api.ask("POST", "/api/deploy", json=body)).json()

    assert deployed["execution_mode"] == "FAST_OVERLAY"
    assert deployed["build_required"] is True
    assert deployed["build_profile"] == "fast_overlay"
    build = await api.ask("GET", f"/v1/builds/{deployed['build_id']}")
    assert build.json()["status"] == "waiting"


async def test_an_image_wins_over_source(api: Api) -> None:
    body = EXAMPLE | {"image": "ghcr.io/acme/my-agent:1.2.0"}

    deployed = (await api.ask("POST", "/api/deploy", json=body)).json()

    assert deployed["execution_mode"] == "IMAGE"
    assert deployed["build_required"] is False
    assert "build_id" not in deployed
    shown = (await api.ask("GET", "/api/agents/default/billing-agent")).json()
    assert shown["spec"]["image"] == "ghcr.io/acme/my-agent:1.2.0"


async def test_tools_are_made_with_the_deploy_and_only_once(api: Api) -> None:
    await api.ask("DELETE", "/api/tools/stripe-api")
    tool = {"name": "stripe-api", "base_url": "https://api.stripe.com", "auth_type": "APIKey"}
    body = EXAMPLE | {"tools_to_create": [tool]}
    before = await api.services.store.head()

    first = await api.ask("POST", "/api/deploy", json=body)
    again = await api.ask("POST", "/api/deploy", json=body)

    assert first.json()["tools_created"] == ["stripe-api"]
    assert again.json()["tools_created"] == []
    log = await api.services.store.read_all(after=before)
    [made] = [each.event for each in log if isinstance(each.event, DocumentApplied)]
    assert made.spec == Tool(
        base_url="https://api.stripe.com", auth_type="APIKey", api_key=ApiKeyPlace()
    )
    assert made.scope == await api.workspace_id()


GOOD_FILES = {"agent.py": "print(1)"}
BAD: list[tuple[dict[str, Any] | bytes, str]] = [
    (b"", "agent_name is required"),
    (b"{", "not JSON"),
    (b"[]", "object"),
    ({"source_files": GOOD_FILES}, "agent_name is required"),
    ({"agent_name": "  ", "source_files": GOOD_FILES}, "agent_name is required"),
    ({"agent_name": None, "source_files": GOOD_FILES}, "agent_name is required"),
    ({"agent_name": 7, "source_files": GOOD_FILES}, "agent_name"),
    ({"agent_name": "No Name", "source_files": GOOD_FILES}, "lower-case"),
    ({"agent_name": "a"}, "image, source_files or artifact_id is required"),
    ({"agent_name": "a", "source_files": {}}, "image, source_files or artifact_id"),
    ({"agent_name": "a", "system_prompt": "x"}, "image, source_files or artifact_id"),
    ({"agent_name": "a", "artifact_id": "art-1"}, "art-1"),
    ({"agent_name": "a", "namespace": "other", "source_files": GOOD_FILES}, "namespace"),
    ({"agent_name": "a", "source_files": {"agent.py": 1}}, "source_files.agent.py"),
    ({"agent_name": "a", "source_files": {"../x.py": ""}}, "leaves the tree"),
    ({"agent_name": "a", "source_files": {"/x.py": ""}}, "absolute"),
    ({"agent_name": "a", "source_files": {"agent.py": "("}}, "agent.py, line 1"),
    ({"agent_name": "a", "source_files": GOOD_FILES, "entry_point": "b.py"}, "b.py"),
    ({"agent_name": "a", "source_files": {"x.txt": ""}}, "entry point"),
    ({"agent_name": "a", "source_files": GOOD_FILES, "env": [{"name": "1"}]}, "1"),
    ({"agent_name": "a", "source_files": GOOD_FILES, "env": {"A": "b"}}, "env"),
    ({"agent_name": "a", "source_files": GOOD_FILES, "policies": "x"}, "policies"),
    ({"agent_name": "a", "source_files": GOOD_FILES, "llm_configs": ["x"]}, "llm_configs"),
    (
        {"agent_name": "a", "source_files": GOOD_FILES, "tools_to_create": [{"name": "t"}]},
        "tool name and base_url are required",
    ),
    (
        {"agent_name": "a", "source_files": GOOD_FILES, "tools_to_create": [{"base_url": "x"}]},
        "tool name and base_url are required",
    ),
    (
        {
            "agent_name": "a",
            "source_files": GOOD_FILES,
            "tools_to_create": [
                {"name": "good", "base_url": "https://x"},
                {"name": "bad", "base_url": "https://x", "auth_type": "Basic"},
            ],
        },
        "tools_to_create[1].auth_type",
    ),
    (
        {
            "agent_name": "a",
            "source_files": GOOD_FILES,
            "tools_to_create": [{"name": "t", "base_url": "ftp://x"}],
        },
        "http",
    ),
]


async def test_each_documented_400_is_given_and_leaves_nothing(api: Api) -> None:
    before = await api.services.store.head()
    for body, says in BAD:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()

        answer = await api.ask("POST", "/api/deploy", content=content)

        assert answer.status_code == 400, (body, answer.text)
        assert list(answer.json()) == ["error"]
        assert says in answer.json()["error"], (body, answer.text)
    assert await api.services.store.head() == before


async def test_the_header_names_the_workspace(api: Api) -> None:
    await api.ask("POST", "/v1/workspaces", json={"slug": "staging"})
    staging = {"X-Workspace-Namespace": "staging"}
    example: dict[str, Any] = EXAMPLE | {"policies": []}

    made = await api.ask("POST", "/api/deploy", json=example, headers=staging)
    agreed = example | {"namespace": "staging"}
    again = await api.ask("POST", "/api/deploy", json=agreed, headers=staging)
    other = await api.ask("POST", "/api/deploy", json=agreed)
    unknown = await api.ask(
        "POST", "/api/deploy", json=EXAMPLE, headers={"X-Workspace-Namespace": "nowhere"}
    )

    assert made.json()["namespace"] == "staging"
    assert again.status_code == 201
    assert other.status_code == 400
    assert "namespace" in other.json()["error"]
    assert unknown.status_code == 400
    assert unknown.json() == {"error": "unknown workspace 'nowhere'"}
    names = [each["name"] for each in (await api.ask("GET", "/api/agents", headers=staging)).json()]
    assert names == ["billing-agent"]
    assert (await api.ask("GET", "/api/agents")).json() == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nowhere", 404),
        ("GET", "/api/deploy", 405),
        ("POST", "/api/agents", 405),
        ("GET", "/api/agents/default/nothing", 404),
        ("DELETE", "/api/agents/default/nothing", 404),
        ("GET", "/runs/nothing", 404),
        ("GET", "/runs/nothing/events", 404),
        ("GET", "/runs?status=DONE", 400),
        ("GET", "/runs?limit=x", 400),
        ("GET", "/governance/requests", 404),
        ("POST", "/ingestion/analyze", 404),
        ("POST", "/api/agents/default/nothing/invoke", 400),
    ],
)
async def test_every_error_has_the_envelope(api: Api, method: str, path: str, status: int) -> None:
    answer = await api.ask(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]


async def test_too_much_and_no_key_have_it_too(api: Api) -> None:
    large = await api.ask("POST", "/api/deploy", content=b"x" * 10_000_001)
    nobody = await api.ask("POST", "/api/deploy", json=EXAMPLE, key=None)
    viewer = await api.ask("POST", "/api/deploy", json=EXAMPLE, key=await api.make_key("viewer"))

    for answer, status in ((large, 413), (nobody, 401), (viewer, 403)):
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]


async def test_an_agent_is_shown_without_nulls_and_deleted(api: Api) -> None:
    await api.ask("POST", "/api/deploy", json=EXAMPLE)

    shown = (await api.ask("GET", "/api/agents/default/billing-agent")).json()
    deleted = await api.ask("DELETE", "/api/agents/default/billing-agent")

    assert shown["status"] == {"phase": "Running", "message": ""}
    assert shown["spec"]["requiredTools"] == ["stripe-api"]
    assert shown["metadata"]["creationTimestamp"].endswith("Z")
    assert None not in shown.values()
    assert (deleted.status_code, deleted.json()) == (200, {"status": "deleted"})
    assert (await api.ask("GET", "/api/agents")).json() == []


async def test_a_phase_follows_the_deployment(api: Api) -> None:
    body = EXAMPLE | {"requirements": "six"}
    await api.ask("POST", "/api/deploy", json=body)

    shown = (await api.ask("GET", "/api/agents/default/billing-agent")).json()

    assert shown["status"] == {"phase": "Pending", "message": ""}


async def ended_run(api: Api, **end: Any) -> str:
    """Request a run and have a worker end it; returns its id."""
    run = await api.request_run("billing-agent", user_id="ada", conversation_id="c1")
    id = run["id"]
    await api.append(
        f"run-{id}",
        RunClaimed(run_id=id, attempt=1, worker="w"),
        RunStarted(run_id=id, attempt=1, sandbox="s"),
        ToolCalled(call_id="t1", tool="stripe-api", input={"a": 1}),
        ToolReturned(call_id="t1", tool="stripe-api", output="ok"),
        MessageSaid(text="hello"),
        RunEnded(run_id=id, attempt=1, **end),
    )
    return id


async def test_a_run_and_its_events_are_shown(api: Api) -> None:
    await api.ask("POST", "/api/deploy", json=EXAMPLE)
    id = await ended_run(api, how="completed", output="hello")

    run = (await api.ask("GET", f"/runs/{id}")).json()
    events = (await api.ask("GET", f"/runs/{id}/events")).json()
    some = (await api.ask("GET", f"/runs/{id}/events?after_seq=2&limit=2")).json()

    assert run["status"] == "COMPLETED"
    assert run["agent"] == run["agent_id"] == "billing-agent"
    assert (run["user_id"], run["conversation_id"]) == ("ada", "c1")
    assert run["message"] == run["initial_message"] == "hi"
    assert [each["type"] for each in events] == [
        "RUN_CREATED",
        "USER_MESSAGE",
        "INVOKE_REQUESTED",
        "TOOL_REQUEST",
        "TOOL_RESPONSE",
        "AGENT_MESSAGE",
        "INVOKE_COMPLETED",
        "COMPLETED",
    ]
    assert [each["seq"] for each in events] == list(range(1, 9))
    assert all(each["sequence"] == each["seq"] for each in events)
    assert some == events[2:4]


async def test_a_failed_run_says_why(api: Api) -> None:
    await api.ask("POST", "/api/deploy", json=EXAMPLE)
    id = await ended_run(api, how="failed", reason="exit_nonzero", detail="It exited with 1.")

    run = (await api.ask("GET", f"/runs/{id}")).json()
    events = (await api.ask("GET", f"/runs/{id}/events")).json()

    assert run["status"] == "FAILED"
    assert run["error"] == "It exited with 1."
    assert [each["type"] for each in events[-2:]] == ["INVOKE_FAILED", "FAILED"]
    assert events[-1]["data"]["error"] == "It exited with 1."


async def test_runs_are_listed_as_the_original_lists_them(api: Api) -> None:
    """Without a filter only those that go on; with an agent all of its runs."""
    await api.ask("POST", "/api/deploy", json=EXAMPLE)
    done = await ended_run(api, how="completed")
    failed = await ended_run(api, how="cancelled", reason="requested")
    going = (await api.request_run("billing-agent"))["id"]

    async def ids(query: str) -> list[str]:
        return [each["id"] for each in (await api.ask("GET", f"/runs{query}")).json()]

    assert await ids("") == [going]
    assert await ids("?agent=billing-agent") == [going, failed, done]
    assert await ids("?agent_id=billing-agent&status=FAILED") == [failed]
    assert await ids("?status=COMPLETED") == [done]
    assert await ids("?status=PAUSED_APPROVAL") == []
    assert await ids("?agent=billing-agent&limit=2") == [going, failed]


async def test_an_idempotency_key_works_here_too(api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await api.ask("POST", "/api/deploy", json=EXAMPLE, headers=headers)
    before = await api.services.store.head()

    again = await api.ask("POST", "/api/deploy", json=EXAMPLE, headers=headers)

    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert await api.services.store.head() == before
