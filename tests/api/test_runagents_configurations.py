"""The RunAgents dialect: files in which nothing can be run are an agent all the same."""

from typing import Any

import pytest

from tests.api.conftest import Api


@pytest.mark.parametrize(
    "more",
    [
        {"system_prompt": "Be kind."},
        {"llm_configs": [{"provider": "openai", "model": "gpt-4o-mini"}]},
    ],
    ids=["prompt", "model"],
)
async def test_files_without_code_are_an_agent_of_a_model_and_tools(
    api: Api, more: dict[str, Any]
) -> None:
    files = {"README.md": "# Billing", "requirements.txt": "runagents\n"}
    body = {"agent_name": "billing-agent", "source_files": files, **more}

    answer = await api.ask("POST", "/api/deploy", json=body)

    assert answer.status_code == 201, answer.text
    assert answer.json()["execution_mode"] == "INSTANT_RUNTIME"
    assert answer.json()["build_required"] is False
    agent = (await api.ask("GET", "/v1/workspaces/default/agents/billing-agent")).json()
    assert agent["versions"][0]["definition"]["kind"] == "configuration"


async def test_files_without_code_or_a_model_are_nothing_to_run(api: Api) -> None:
    body = {"agent_name": "billing-agent", "source_files": {"README.md": "# Billing"}}

    answer = await api.ask("POST", "/api/deploy", json=body)

    assert answer.status_code == 400
    assert "entry point" in answer.json()["error"]
