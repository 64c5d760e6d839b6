"""What agents reach through the gateway: the published examples, tools, models and policies."""

from typing import Any

import httpx
import pytest

from tests.e2e.servers import KEY, DevServer

HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}

# The two examples of RunAgents' deploy page, as printed.
SOURCE_DEPLOY = r"""{
    "agent_name": "billing-agent",
    "source_files": {
      "agent.py": "print(\"hello\")"
    },
    "required_tools": ["stripe-api"],
    "llm_configs": [{"provider": "openai", "model": "gpt-4o-mini", "role": "chat"}],
    "policies": ["billing-stripe-policy"],
    "entry_point": "agent.py",
    "requirements": "runagents>=0.2.0\n"
  }"""
IMAGE_DEPLOY = r"""{
    "agent_name": "my-agent",
    "image": "ghcr.io/acme/my-agent:1.2.0",
    "required_tools": ["echo-tool"],
    "policies": ["echo-read-policy"],
    "llm_configs": [{"provider": "openai", "model": "gpt-4o-mini"}]
  }"""

CALLS_ECHO = """
from runagents import Agent

def handler(request):
    answer = Agent().call_tool("echo-tool", path="/echo", payload={"message": request["message"]})
    return {"response": str(answer)}
"""
CALLS_MODEL = """
import json, os, urllib.request

def handler(request):
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": request["message"]}]}
    call = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(call, timeout=20) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]
"""


def post(dev: DevServer, path: str, body: str | dict[str, Any] | None = None) -> httpx.Response:
    """Post as the published clients do: a body of JSON, or none although the type says so."""
    url = f"{dev.url}{path}"
    if isinstance(body, dict):
        return httpx.post(url, json=body, headers=HEADERS, timeout=30)
    return httpx.post(url, content=body or "", headers=HEADERS, timeout=30)


def deploy(dev: DevServer, name: str, source: str, **more: Any) -> dict[str, Any]:
    body = {"agent_name": name, "source_files": {"agent.py": source}, **more}
    answer = post(dev, "/api/deploy", body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def events_of(dev: DevServer, run_id: str) -> list[dict[str, Any]]:
    return dev.argosy("run", "events", run_id, "--json").json["items"]


@pytest.fixture(scope="module", autouse=True)
def starter_kit(dev: DevServer) -> None:
    """Made before each of these tests needs it, twice: it is idempotent."""
    for _ in range(2):
        seeded = post(dev, "/api/starter-kit")
        assert seeded.status_code == 201, seeded.text
        assert seeded.json() == {
            "tool_created": "echo-tool",
            "model_provider_created": "playground-llm",
        }


def test_the_published_source_example_works_as_printed(dev: DevServer) -> None:
    tool = {"name": "stripe-api", "base_url": "https://api.stripe.com", "auth_type": "None"}
    assert post(dev, "/api/tools", tool).status_code == 201
    rule = {"permission": "allow", "resource": "https://api.stripe.com/*", "operations": ["GET"]}
    policy = {"name": "billing-stripe-policy", "spec": {"policies": [rule]}}
    assert post(dev, "/api/policies", policy).status_code == 201

    answer = post(dev, "/api/deploy", SOURCE_DEPLOY)

    assert answer.status_code == 201, answer.text
    assert answer.json()["execution_mode"] == "INSTANT_RUNTIME"
    run = dev.argosy("invoke", "billing-agent", "-m", "go", "--json").json
    assert run["output"] == "hello"


def test_the_published_image_example_works_as_printed(dev: DevServer) -> None:
    answer = post(dev, "/api/deploy", IMAGE_DEPLOY)

    assert answer.status_code == 201, answer.text
    assert answer.json()["execution_mode"] == "IMAGE"
    assert answer.json()["build_required"] is False


def test_an_unknown_policy_is_named_and_nothing_is_made(dev: DevServer) -> None:
    body = {
        "agent_name": "half-made",
        "source_files": {"agent.py": "print('x')"},
        "tools_to_create": [{"name": "half-made-tool", "base_url": "https://t.example.com"}],
        "policies": ["no-such-policy"],
    }

    answer = post(dev, "/api/deploy", body)

    assert answer.status_code == 400
    assert "no-such-policy" in answer.json()["error"]
    gone = [f"{dev.url}/api/agents/default/half-made", f"{dev.url}/api/tools/half-made-tool"]
    assert [httpx.get(url, headers=HEADERS).status_code for url in gone] == [404, 404]


def test_an_agent_calls_the_echo_tool_through_its_policy(dev: DevServer) -> None:
    bound = {"required_tools": ["echo-tool"], "policies": ["echo-read-policy"]}
    deploy(dev, "caller", CALLS_ECHO, **bound)

    run = dev.argosy("invoke", "caller", "-m", "through the door", "--json").json

    assert run["status"] == "completed", run
    assert "through the door" in run["output"]
    by_gateway = [each for each in events_of(dev, run["id"]) if each.get("by") == "gateway"]
    assert [each["type"] for each in by_gateway] == ["tool_call", "tool_result"]
    called, returned = by_gateway
    assert called["decision"] == "allow"
    assert called["rule"] == "echo-read-policy#1"
    assert (called["tool"], called["method"], called["path"]) == ("echo-tool", "POST", "/echo")
    assert len(called["payload_hash"]) == 64
    assert returned["status"] == 200


def test_without_a_policy_the_call_is_denied_where_everybody_sees_it(dev: DevServer) -> None:
    deploy(dev, "unbound", CALLS_ECHO, required_tools=["echo-tool"])

    run = dev.argosy("invoke", "unbound", "-m", "let me", "--json", expect=None).json

    assert "POLICY_DENIED" in run["output"] + run["detail"]
    judged = [each for each in events_of(dev, run["id"]) if each.get("by") == "gateway"]
    assert [each["decision"] for each in judged] == ["deny"]
    assert "rule" not in judged[0]
    assert "No policy is bound" in judged[0]["detail"]


def test_what_needs_approval_ends_the_run(dev: DevServer) -> None:
    rule = {"permission": "approval_required", "resource": "*", "operations": ["POST"]}
    policy = {"name": "ask-first", "spec": {"policies": [rule]}}
    assert post(dev, "/api/policies", policy).status_code == 201
    bound = {"required_tools": ["echo-tool"], "policies": ["echo-read-policy", "ask-first"]}
    deploy(dev, "asker", CALLS_ECHO, **bound)

    run = dev.argosy("invoke", "asker", "-m", "may I", "--json", expect=None).json

    assert (run["status"], run["reason"]) == ("failed", "policy_denied")
    assert "ask-first#1" in run["detail"]


def test_a_missing_tool_keeps_an_agent_pending_until_it_is_there(dev: DevServer) -> None:
    deploy(dev, "early", "print('ran')", required_tools=["late-tool"])
    url = f"{dev.url}/api/agents/default/early"
    waiting = httpx.get(url, headers=HEADERS).json()["status"]
    refused = dev.argosy("invoke", "early", "-m", "x", expect=None)
    assert post(dev, "/api/tools", {"name": "late-tool", "base_url": "https://t.example.com"})
    running = httpx.get(url, headers=HEADERS).json()["status"]

    assert waiting["phase"] == "Pending"
    assert "late-tool" in waiting["message"]
    assert refused.code != 0
    assert "late-tool" in refused.err
    assert running["phase"] == "Running"
    assert dev.argosy("invoke", "early", "-m", "x", "--json").json["output"] == "ran"


def test_an_agent_talks_to_a_model_and_the_call_is_recorded(dev: DevServer) -> None:
    llm = [{"provider": "openai", "model": "gpt-4o-mini", "role": "chat"}]
    deploy(dev, "talker", CALLS_MODEL, llm_configs=llm)

    run = dev.argosy("invoke", "talker", "-m", "/say good day", "--json").json

    assert run["output"] == "good day"
    (used,) = [each for each in events_of(dev, run["id"]) if each.get("by") == "gateway"]
    assert used["type"] == "usage"
    assert (used["provider"], used["model"], used["status"]) == (
        "playground-llm",
        "gpt-4o-mini",
        200,
    )
    assert used["output_tokens"] > 0
    assert run["usage"]["output_tokens"] == used["output_tokens"]


def test_a_prompt_a_model_and_tools_are_an_agent(dev: DevServer) -> None:
    """Contract §4, tier 1: nothing in the source runs, so the model and its tools answer."""
    body = {
        "agent_name": "configured",
        "source_files": {"README.md": "An agent without code."},
        "system_prompt": "You echo.",
        "required_tools": ["echo-tool"],
        "policies": ["echo-read-policy"],
        "llm_configs": [{"provider": "openai", "model": "gpt-4o-mini", "role": "chat"}],
    }
    answer = post(dev, "/api/deploy", body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["execution_mode"] == "INSTANT_RUNTIME"

    message = '/call echo-tool__echo {"message": "from the model"}'
    run = dev.argosy("invoke", "configured", "-m", message, "--json").json

    assert run["status"] == "completed", run
    assert "from the model" in run["output"]
    kinds = [each["type"] for each in events_of(dev, run["id"]) if each.get("by") == "gateway"]
    assert kinds == ["usage", "tool_call", "tool_result", "usage"]
