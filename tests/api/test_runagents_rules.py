"""The RunAgents dialect: what a deploy may name, and what becomes of an agent until it is there."""

from typing import Any

import pytest

from domain.catalog import DocumentApplied, DocumentArchived, Tool
from domain.documents import TOOLS
from domain.ids import new_id
from domain.ports import Change, Meta, Reservation
from tests.api.conftest import Api
from tests.api.test_documents import reference, secret

JSON = {"Content-Type": "application/json"}
FILES = {"agent.py": "print(1)"}
DEPLOY: dict[str, Any] = {"agent_name": "a", "source_files": FILES}
AGENT = "/api/agents/default/a"
MODEL = {"provider": "openai", "model": "gpt-4o-mini"}

# The two examples of the published page, as printed.
SOURCE_EXAMPLE = r"""{
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
IMAGE_EXAMPLE = r"""{
    "agent_name": "my-agent",
    "image": "ghcr.io/acme/my-agent:1.2.0",
    "required_tools": ["echo-tool"],
    "policies": ["echo-read-policy"],
    "llm_configs": [{"provider": "openai", "model": "gpt-4o-mini"}]
  }"""


async def deploy(api: Api, **fields: Any) -> Any:
    return await api.ask("POST", "/api/deploy", json=DEPLOY | fields)


async def test_the_published_source_example(api: Api) -> None:
    tool = {"name": "stripe-api", "base_url": "https://api.stripe.com", "auth_type": "APIKey"}
    rule = {"permission": "allow", "resource": "https://api.stripe.com/*"}
    policy = {"name": "billing-stripe-policy", "spec": {"policies": [rule]}}
    await api.ask("POST", "/api/tools", json=tool)
    await api.ask("POST", "/api/policies", json=policy)

    answer = await api.ask("POST", "/api/deploy", content=SOURCE_EXAMPLE, headers=JSON)

    assert answer.status_code == 201
    assert answer.json()["execution_mode"] == "INSTANT_RUNTIME"
    agent = (await api.ask("GET", "/api/agents/default/billing-agent")).json()
    assert agent["status"] == {"phase": "Running", "message": ""}
    assert agent["spec"]["requiredTools"] == ["stripe-api"]
    assert agent["spec"]["policies"] == ["billing-stripe-policy"]


async def test_the_published_image_example(api: Api) -> None:
    await api.ask("POST", "/api/starter-kit", headers=JSON)

    answer = await api.ask("POST", "/api/deploy", content=IMAGE_EXAMPLE, headers=JSON)

    assert answer.status_code == 201
    assert answer.json()["execution_mode"] == "IMAGE"
    assert answer.json()["build_required"] is False


async def test_an_agent_waits_for_its_tools_and_then_runs(api: Api) -> None:
    """Nothing is refused at the deploy, and nothing has to be deployed again."""
    made = await deploy(api, required_tools=["late-tool", "later-tool"])
    waiting = (await api.ask("GET", AGENT)).json()["status"]
    [listed] = (await api.ask("GET", "/api/agents")).json()
    invoked = await api.ask("POST", f"{AGENT}/invoke", json={"message": "x"})
    run = await api.ask("POST", "/v1/workspaces/default/deployments/a/runs", json={"message": "x"})

    for name in ("late-tool", "later-tool"):
        await api.ask("POST", "/api/tools", json={"name": name, "base_url": "https://t.example"})
    running = (await api.ask("GET", AGENT)).json()["status"]
    started = await api.ask(
        "POST", "/v1/workspaces/default/deployments/a/runs", json={"message": "x"}
    )

    assert made.status_code == 201
    assert waiting["phase"] == listed["status"]["phase"] == "Pending"
    assert "late-tool, later-tool" in waiting["message"]
    assert invoked.status_code == 409
    assert "late-tool, later-tool" in invoked.json()["error"]
    assert (run.status_code, run.json()["type"]) == (409, "/problems/tools-missing")
    assert run.json()["tools"] == ["late-tool", "later-tool"]
    assert running == {"phase": "Running", "message": ""}
    assert started.status_code == 202


async def test_an_agent_whose_tool_is_deleted_waits_again(api: Api) -> None:
    tool = {"name": "t", "base_url": "https://t.example"}
    await deploy(api, required_tools=["t"], tools_to_create=[tool])
    before = (await api.ask("GET", AGENT)).json()["status"]["phase"]

    await api.ask("DELETE", "/api/tools/t")

    after = (await api.ask("GET", AGENT)).json()["status"]
    assert before == "Running"
    assert after["phase"] == "Pending"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"policies": ["no-such-policy"]}, "policies[0]: There is no policy 'no-such-policy'"),
    ({"policies": ["käse"]}, "policies[0]"),
    ({"required_tools": ["Stripe API"]}, "required_tools[0]"),
    ({"required_tools": ["t"] * 201}, "required_tools has at most 200"),
    ({"llm_configs": [{"model": "m"}]}, "llm_configs[0].provider"),
    ({"llm_configs": [{"provider": "acme", "model": "m"}]}, "llm_configs[0].provider"),
    ({"llm_configs": [{"provider": "openai"}]}, "llm_configs[0].model"),
    ({"llm_configs": [{"provider": "openai", "model": " "}]}, "llm_configs[0].model"),
    ({"llm_configs": [MODEL, MODEL | {"role": "boss"}]}, "llm_configs[1].role"),
    (
        {"llm_configs": [MODEL | {"monthly_budget_usd": -1}]},
        "llm_configs[0].monthly_budget_usd",
    ),
    ({"llm_configs": [MODEL] * 201}, "llm_configs has at most 200"),
    ({"tool_url_mappings": {"https://x.example": "nowhere"}}, "There is no tool 'nowhere'"),
    ({"tool_url_mappings": {"x.example": "t"}}, "tool_url_mappings.x.example"),
]


@pytest.mark.parametrize(("fields", "says"), BAD, ids=lambda each: str(each)[:40])
async def test_a_bad_name_makes_nothing(api: Api, fields: dict[str, Any], says: str) -> None:
    tools = [{"name": "t", "base_url": "https://t.example"}]
    before = await api.services.store.head()

    answer = await deploy(api, tools_to_create=tools, **fields)

    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert await api.services.store.head() == before
    assert (await api.ask("GET", "/api/tools/t")).status_code == 404


async def test_models_are_stored_as_far_as_they_are_known(api: Api) -> None:
    configs = [
        {"provider": "openai", "model": "gpt-4o-mini", "temperature": 0.2},
        {
            "provider": "anthropic",
            "model": "claude",
            "role": "classify",
            "model_provider": "anthropic-prod",
            "monthly_budget_usd": 5,
        },
    ]

    answer = await deploy(api, llm_configs=configs)

    assert answer.status_code == 201
    shown = (await api.ask("GET", "/v1/workspaces/default/deployments/a")).json()
    assert shown["revisions"][-1]["settings"]["llm_configs"] == [
        {"provider": "openai", "model": "gpt-4o-mini"},
        configs[1],
    ]


async def test_urls_may_be_mapped_to_a_tool_that_comes_or_is_required(api: Api) -> None:
    tools = [{"name": "t", "base_url": "https://t.example"}]
    mapped = await deploy(api, tools_to_create=tools, tool_url_mappings={"https://x.example": "t"})
    required = await deploy(api, required_tools=["u"], tool_url_mappings={"https://x.example": "u"})

    assert (mapped.status_code, required.status_code) == (201, 201)


async def test_two_tools_of_one_name_are_refused(api: Api) -> None:
    tool = {"name": "t", "base_url": "https://t.example"}

    answer = await deploy(api, tools_to_create=[tool, tool])

    assert answer.status_code == 400
    assert "tools_to_create[1].name" in answer.json()["error"]


async def test_a_tool_with_a_key_and_no_key_waits_for_it(api: Api) -> None:
    tool = {"name": "t", "base_url": "https://t.example", "auth_type": "APIKey"}

    answer = await deploy(api, required_tools=["t"], tools_to_create=[tool])

    assert answer.json()["tools_created"] == ["t"]
    status = (await api.ask("GET", "/api/tools/t")).json()["status"]
    assert status == {"phase": "Pending", "message": "Its credentials are missing."}


async def test_a_deploy_keeps_what_is_special_about_a_tool_there_is(api: Api) -> None:
    """Its key and its capabilities; a deploy cannot send the key elsewhere either."""
    tool = {
        "base_url": "https://t.example",
        "auth_type": "APIKey",
        "credential": "sk-1",
        "capabilities": [{"name": "list", "method": "GET", "path": "/v1/*"}],
    }
    path = "/v1/workspaces/default/tools/t"
    await api.ask("PUT", path, json=tool)
    again = {"name": "t", "base_url": "https://t.example", "auth_type": "APIKey"}

    kept = await deploy(api, tools_to_create=[again | {"description": "New"}])
    moved = await deploy(api, tools_to_create=[again | {"base_url": "https://evil.example"}])

    assert kept.json()["tools_created"] == []
    shown = (await api.ask("GET", path)).json()
    assert (shown["description"], shown["has_credential"]) == ("New", True)
    assert len(shown["capabilities"]) == 1
    assert moved.status_code == 400
    assert (
        "tools_to_create[0].base_url: The credentials were given for another"
        in moved.json()["error"]
    )


async def test_a_deploy_that_takes_a_tool_s_key_away_forgets_it(api: Api) -> None:
    tool = {"base_url": "https://t.example", "auth_type": "APIKey", "credential": "sk-1"}
    await api.ask("PUT", "/v1/workspaces/default/tools/t", json=tool)
    known = await reference(api, TOOLS, "t")

    await deploy(
        api, tools_to_create=[{"name": "t", "base_url": "https://t.example", "auth_type": "None"}]
    )

    assert await reference(api, TOOLS, "t") == ""
    assert await secret(api, known) is None


async def test_a_tool_that_cannot_be_made_is_a_500_in_the_documented_words(api: Api) -> None:
    """Its name is held by a document that is gone: nothing of the deploy is done."""
    store, workspace, id = api.services.store, await api.workspace_id(), new_id()
    spec = Tool(base_url="https://t.example")
    gone = [
        DocumentApplied(document_id=id, scope=workspace, name="t", spec=spec),
        DocumentArchived(document_id=id),
    ]
    await store.append(
        [Change(stream=f"tool-{id}", events=gone)],
        Meta(actor="system", workspace_id=workspace, command_id=new_id()),
        reservations=[Reservation(scope=workspace, kind="tool", name="t", id=id)],
    )
    before = await store.head()

    answer = await deploy(api, tools_to_create=[{"name": "t", "base_url": "https://t.example"}])

    assert answer.status_code == 500
    assert answer.json()["error"].startswith("failed to create tool t: ")
    assert await store.head() == before
    assert (await api.ask("GET", AGENT)).status_code == 404
