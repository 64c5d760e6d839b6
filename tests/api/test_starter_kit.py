"""The starter kit: made once, whoever asks for it and how."""

import asyncio

import pytest

from domain.catalog import Tool
from tests.api.conftest import Api

W = "/v1/workspaces/default"
SEEDED = {"tool_created": "echo-tool", "model_provider_created": "playground-llm"}
JSON = {"Content-Type": "application/json"}


async def test_the_kit_is_one_append(api: Api) -> None:
    before = await api.services.store.head()

    answer = await api.ask("POST", f"{W}/starter-kit")

    assert answer.status_code == 201
    assert answer.json() == {
        "tool": "echo-tool",
        "model_provider": "playground-llm",
        "policy": "echo-read-policy",
        "created": ["echo-tool", "playground-llm", "echo-read-policy"],
    }
    log = await api.services.store.read_all(after=before)
    assert [each.type for each in log] == ["document.applied"] * 3
    assert len({each.command_id for each in log}) == 1
    assert int(answer.headers["x-argosy-position"]) == before + 3


async def test_the_clients_send_no_body_and_call_it_json(api: Api) -> None:
    first = await api.ask("POST", "/api/starter-kit", headers=JSON)
    before = await api.services.store.head()
    again = await api.ask("POST", "/api/starter-kit", headers=JSON)

    assert (first.status_code, first.json()) == (201, SEEDED)
    assert (again.status_code, again.json()) == (201, SEEDED)
    assert await api.services.store.head() == before


async def test_it_holds_what_it_promises(api: Api) -> None:
    await api.ask("POST", "/api/starter-kit")

    tool = (await api.ask("GET", "/api/tools/echo-tool")).json()
    provider = (await api.ask("GET", "/api/model-providers/playground-llm")).json()
    policy = (await api.ask("GET", "/api/policies/echo-read-policy")).json()
    native = (await api.ask("GET", f"{W}/tools/echo-tool")).json()

    assert tool["status"]["phase"] == provider["status"]["phase"] == "Available"
    assert tool["spec"]["connection"]["authentication"] == {"type": "None"}
    assert [(each["method"], each["path"]) for each in tool["spec"]["capabilities"]] == [
        ("POST", "/echo")
    ]
    assert (provider["spec"]["provider"], provider["spec"]["models"]) == ("openai", ["gpt-4o-mini"])
    [rule] = policy["spec"]["policies"]
    assert rule["resource"].removesuffix("*") == native["address"]
    assert rule["permission"] == "allow"


async def test_twenty_at_once_make_one_kit(api: Api) -> None:
    answers = await asyncio.gather(*(api.ask("POST", f"{W}/starter-kit") for _ in range(20)))

    assert {each.status_code for each in answers} == {201}
    created = [name for each in answers for name in each.json()["created"]]
    assert sorted(created) == ["echo-read-policy", "echo-tool", "playground-llm"]
    for noun in ("tools", "policies", "model-providers"):
        assert len((await api.ask("GET", f"{W}/{noun}")).json()["items"]) == 1


async def test_what_has_one_of_its_names_stays_as_it_is(api: Api) -> None:
    mine = {"base_url": "https://echo.example.com", "auth_type": "APIKey", "credential": "k"}
    await api.ask("PUT", f"{W}/tools/echo-tool", json=mine)

    answer = await api.ask("POST", f"{W}/starter-kit")

    assert answer.json()["created"] == ["playground-llm", "echo-read-policy"]
    kept = (await api.ask("GET", f"{W}/tools/echo-tool")).json()
    assert (kept["base_url"], kept["has_credential"]) == (mine["base_url"], True)


async def test_a_kit_that_was_sent_in_again_is_still_built_in(api: Api) -> None:
    """By its address: no caller can say that something else is."""
    await api.ask("POST", "/api/starter-kit")
    shown = (await api.ask("GET", "/api/tools/echo-tool")).json()

    await api.ask("POST", "/api/tools", json=shown | {"credentials": {}})
    other = {"name": "other", "base_url": "http://echo-tool.argosy.internal:81"}
    refused = await api.ask("POST", "/api/tools", json=other)

    id = await api.services.store.resolve(await api.workspace_id(), "tool", "echo-tool")
    [*_, last] = (await api.services.store.load(f"tool-{id}")).events
    assert isinstance(last.event.spec, Tool)
    assert last.event.spec.serves == "echo"
    assert refused.status_code == 400


@pytest.mark.parametrize("path", [f"{W}/starter-kit", "/api/starter-kit"])
async def test_it_takes_a_deployer(api: Api, path: str) -> None:
    assert (await api.ask("POST", path, key=await api.make_key("viewer"))).status_code == 403
    assert (await api.ask("POST", path, key=await api.make_key("deployer"))).status_code == 201


async def test_an_idempotency_key_works_here_too(api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await api.ask("POST", f"{W}/starter-kit", headers=headers)
    await api.ask("DELETE", f"{W}/tools/echo-tool")

    again = await api.ask("POST", f"{W}/starter-kit", headers=headers)

    assert again.json() == first.json()
    assert (await api.ask("GET", f"{W}/tools/echo-tool")).status_code == 404
