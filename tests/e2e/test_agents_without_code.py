"""An agent that is a prompt, a model and tools: deployed, asked, and held to its policies."""

from typing import Any

import httpx
import pytest

from tests.e2e.servers import KEY, DevServer

HEADERS = {"Authorization": f"Bearer {KEY}"}
WORKSPACE = "/v1/workspaces/default"
# The playground model does what its message says.
ASK_THE_ECHO = '/call echo-tool__echo {"message": "the cuckoo"}\n/then\n/say It said {result}'


@pytest.fixture
def kit(dev: DevServer) -> DevServer:
    """A server with the starter kit."""
    made = httpx.post(f"{dev.url}{WORKSPACE}/starter-kit", headers=HEADERS, timeout=30)
    assert made.status_code == 201, made.text
    return dev


def events(dev: DevServer, run: dict[str, Any], type_: str) -> list[dict[str, Any]]:
    """Return a run's events of a type."""
    page = dev.argosy("run", "events", run["id"], "--json").json
    return [each for each in page["items"] if each["type"] == type_]


def test_the_model_calls_a_tool_and_answers_with_what_it_said(kit: DevServer) -> None:
    kit.argosy(
        *("deploy", "--name", "helper", "--model", "gpt-4o-mini", "--system-prompt", "Be brief."),
        *("--tool", "echo-tool", "--policy", "echo-read-policy"),
    )

    run = kit.argosy("invoke", "helper", "-m", ASK_THE_ECHO, "--json").json

    assert run["status"] == "completed", run
    assert run["output"].startswith("It said ")
    assert "the cuckoo" in run["output"]
    calls, results = events(kit, run, "tool_call"), events(kit, run, "tool_result")
    theirs, ours = (each for each in sorted(calls, key=lambda each: "by" in each))
    assert (theirs["tool"], theirs["input"]) == ("echo-tool__echo", {"message": "the cuckoo"})
    assert (ours["decision"], ours["rule"]) == ("allow", "echo-read-policy#1")
    assert [each["status"] for each in results if "by" in each] == [200]
    assert [each["failed"] for each in results if "by" not in each] == [False]
    assert run["usage"]["input_tokens"] > 0


def test_without_a_policy_the_denial_is_seen(kit: DevServer) -> None:
    kit.argosy("deploy", "--name", "bare", "--model", "gpt-4o-mini", "--tool", "echo-tool")

    run = kit.argosy("invoke", "bare", "-m", ASK_THE_ECHO, "--json").json

    assert run["status"] == "completed", run
    assert "POLICY_DENIED" in run["output"]
    assert "the cuckoo" not in run["output"]
    [ours] = [each for each in events(kit, run, "tool_call") if "by" in each]
    assert ours["decision"] == "deny"
    [told] = events(kit, run, "tool_result")
    assert told["failed"]
    assert "POLICY_DENIED" in str(told["output"])


def test_a_model_that_nobody_has_fails_the_run_in_its_words(kit: DevServer) -> None:
    kit.argosy("deploy", "--name", "lost", "--model", "no-such-model")

    run = kit.argosy("invoke", "lost", "-m", "hello", "--json", expect=1).json

    assert (run["status"], run["reason"]) == ("failed", "model_error")
    assert "no-such-model" in run["detail"]
