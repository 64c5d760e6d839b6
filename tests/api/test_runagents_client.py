"""The published RunAgents client 0.2.0, unchanged, against the dialect."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from runagents.client import APIError, Client  # pyright: ignore[reportMissingTypeStubs]

from domain.entries import MessageSaid
from domain.runs import RunClaimed, RunEnded, RunStarted
from tests.api.conftest import Api

FILES = {"agent.py": "def handler(request, context):\n    return {'response': 'pong'}\n"}


# Any: the client's own types are not complete.
@pytest.fixture
async def client(served: Api) -> Any:
    """The client, with a key as RunAgents' own look: it sends two headers then."""
    key = await served.make_key("deployer", "default")
    return Client(endpoint=str(served.client.base_url), api_key=key, namespace="default")


async def blocking(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Run the client, which blocks, beside the server, which is in this process."""
    return await asyncio.to_thread(work, *arguments, **named)


async def test_an_agent_is_deployed_listed_and_read(client: Any) -> None:
    deployed = await blocking(
        client.agents.deploy,
        "pong",
        source_files=FILES,
        system_prompt="You answer pong.",
        required_tools=["echo-tool"],
        tools_to_create=[{"name": "echo-tool", "base_url": "https://echo.example.invalid"}],
        llm_configs=[{"provider": "openai", "model": "gpt-4o-mini", "role": "chat"}],
        requirements="runagents>=0.2.0\n",
        entry_point="agent.py",
    )
    again = await blocking(client.agents.deploy, "pong", source_files=FILES)
    [listed] = await blocking(client.agents.list)
    agent = await blocking(client.agents.get, "default", "pong")

    assert (deployed.agent_name, deployed.namespace) == ("pong", "default")
    assert deployed.tools_created == ["echo-tool"]
    assert (deployed.status, again.status) == ("created", "updated")
    assert deployed.message
    assert listed == agent
    assert (agent.name, agent.namespace, agent.status) == ("pong", "default", "Running")
    assert agent.required_tools == ["echo-tool"]
    assert agent.system_prompt == "You answer pong."
    assert agent.created_at.endswith("Z")


async def test_runs_and_their_events_are_read(served: Api, client: Any) -> None:
    await blocking(client.agents.deploy, "pong", source_files=FILES)
    run = await served.request_run("pong")
    id = run["id"]
    await served.append(
        f"run-{id}",
        RunClaimed(run_id=id, attempt=1, worker="w"),
        RunStarted(run_id=id, attempt=1, sandbox="s"),
        MessageSaid(text="pong"),
        RunEnded(run_id=id, attempt=1, how="completed", output="pong"),
    )

    [found] = await blocking(client.runs.list, agent="pong", limit=5)
    events = await blocking(client.runs.events, id)

    assert (found.id, found.agent, found.status) == (id, "pong", "COMPLETED")
    assert (found.namespace, found.message) == ("default", "hi")
    assert found.created_at <= found.updated_at
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[-1].type == "COMPLETED"
    assert events[1].data["content"] == "hi"


async def test_an_error_is_its_text(client: Any) -> None:
    with pytest.raises(APIError) as caught:
        await blocking(client.agents.deploy, "Not A Name", source_files=FILES)

    assert caught.value.status == 400
    assert list(caught.value.detail) == ["error"]


async def test_invoking_waits_for_the_answer(served: Api, client: Any) -> None:
    await blocking(client.agents.deploy, "pong", source_files=FILES)
    before = await served.services.store.head()
    asking = asyncio.create_task(
        blocking(client.post, "/api/agents/default/pong/invoke", {"message": "ping"})
    )
    async with asyncio.timeout(10):
        batch = await anext(served.services.store.follow(after=before))
    id = batch[0].event.run_id
    await served.append(
        f"run-{id}",
        RunClaimed(run_id=id, attempt=1, worker="w"),
        RunStarted(run_id=id, attempt=1, sandbox="s"),
        RunEnded(run_id=id, attempt=1, how="completed", output="pong"),
    )

    answer = await asking

    assert answer["response"] == "pong"
    assert answer["run_id"] == id


async def test_the_starter_kit_is_seeded_and_its_parts_are_read(client: Any) -> None:
    kit = await blocking(client.seed_starter_kit)
    again = await blocking(client.seed_starter_kit)
    [tool] = await blocking(client.tools.list)
    [provider] = await blocking(client.models.list)

    assert kit == again
    assert kit == {"tool_created": "echo-tool", "model_provider_created": "playground-llm"}
    assert (tool.name, tool.auth_type, tool.topology) == ("echo-tool", "None", "External")
    assert [each["path"] for each in tool.capabilities] == ["/echo"]
    assert (provider.name, provider.provider) == ("playground-llm", "openai")
    assert (provider.models, provider.status) == (["gpt-4o-mini"], "Available")
    assert provider.endpoint


async def test_a_tool_is_made_read_and_deleted(client: Any) -> None:
    made = await blocking(
        client.tools.create,
        "billing",
        "https://billing.example.com",
        description="Invoices",
        auth_type="APIKey",
        port=8443,
    )
    tool = await blocking(client.tools.get, "billing")
    await blocking(client.tools.create, "billing", "https://billing.example.com")
    changed = await blocking(client.tools.get, "billing")
    deleted = await blocking(client.delete, "/api/tools/billing")

    assert made["name"] == "billing"
    assert (tool.base_url, tool.auth_type) == ("https://billing.example.com", "APIKey")
    assert (tool.description, tool.access_mode) == ("Invoices", "Open")
    assert (changed.description, changed.auth_type) == ("", "None")
    assert deleted == {"status": "deleted"}
    with pytest.raises(APIError) as caught:
        await blocking(client.tools.get, "billing")
    assert caught.value.status == 404


async def test_an_agent_without_its_tools_is_pending(client: Any) -> None:
    await blocking(client.agents.deploy, "pong", source_files=FILES, required_tools=["echo-tool"])
    waiting = await blocking(client.agents.get, "default", "pong")
    with pytest.raises(APIError) as caught:
        await blocking(client.post, "/api/agents/default/pong/invoke", {"message": "ping"})
    await blocking(client.seed_starter_kit)
    running = await blocking(client.agents.get, "default", "pong")

    assert (waiting.status, running.status) == ("Pending", "Running")
    assert caught.value.status == 409
    assert "echo-tool" in caught.value.detail["error"]
