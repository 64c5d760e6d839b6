"""A deploy draft in the way RunAgents' clients go: filled in step by step, deployed once, kept."""

from typing import Any

import pytest
from runagents.client import APIError, Client  # pyright: ignore[reportMissingTypeStubs]

from tests.e2e.servers import KEY, DevServer

AGENT = """
import os

def handler(request):
    return f"{os.environ['SYSTEM_PROMPT']} {request['message']}"
"""
DRAFTS = "/api/deploy-drafts"


# Any: the client's own types are not complete.
@pytest.fixture
def client(dev: DevServer) -> Any:
    """The published client 0.2.0, unchanged; it has no methods for drafts, so it is asked raw."""
    made: Any = Client(endpoint=dev.url, api_key=KEY, namespace="default")
    made.seed_starter_kit()
    return made


def refused(status: int, ask: Any, *arguments: Any) -> str:
    """Return the words of a refusal with this status."""
    with pytest.raises(APIError) as caught:
        ask(*arguments)
    assert caught.value.status == status, caught.value.detail
    return caught.value.detail["error"]


def test_a_draft_is_filled_in_deployed_and_kept(client: Any) -> None:
    draft = client.post(DRAFTS, {"source_type": "code", "step": "upload"})
    path = f"{DRAFTS}/{draft['id']}"
    assert (draft["status"], draft["version"]) == ("IN_PROGRESS", 1)

    config = {"agent_name": "drafted", "system_prompt": "hello"}
    named = client.patch(path, {"expected_version": 1, "step": "name", "agent_config": config})
    assert named["version"] == 2
    told = refused(409, client.patch, path, {"expected_version": 1, "step": "lost"})
    assert "version 2" in told
    assert "artifact" in refused(400, client.post, "/api/deploy", {"draft_id": draft["id"]})

    artifact = client.post("/api/workflow-artifacts", {"source_files": {"agent.py": AGENT}})
    filled = client.patch(
        path,
        {
            "expected_version": 2,
            "artifact_id": artifact["id"],
            "step": "deploy",
            "required_tool_names": ["echo-tool"],
            "policies": ["echo-read-policy"],
            "model_mappings": {"chat": {"provider": "openai", "model": "gpt-4o-mini"}},
        },
    )
    assert (filled["version"], filled["agent_config"]) == (3, config)

    body = {"draft_id": draft["id"]}
    assert client.post("/api/deploy/preview", body)["user_state"] == "instant"
    assert client.get(path) == filled

    deployed = client.post("/api/deploy", body)
    assert (deployed["agent"], deployed["execution_mode"]) == ("drafted", "INSTANT_RUNTIME")
    run = client.post("/api/agents/default/drafted/invoke", {"message": "world"})
    assert run["response"] == "hello world"

    done = client.get(path)
    assert (done["status"], done["version"]) == ("COMPLETED", 4)
    assert draft["id"] in [each["id"] for each in client.get(DRAFTS)]
    assert "completed" in refused(409, client.post, "/api/deploy", body)
    assert "completed" in refused(409, client.patch, path, {"step": "again"})
    assert client.agents.get("default", "drafted").required_tools == ["echo-tool"]
