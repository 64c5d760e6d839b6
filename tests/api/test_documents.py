"""Tools, policies and model providers, natively: declared, shown, listed, deleted."""

import asyncio
from typing import Any

import pytest

from domain.catalog import Active, ModelProvider, Tool
from domain.documents import MODEL_PROVIDERS, TOOLS, Kind
from domain.errors import NotFound
from domain.handling import Unit
from tests.api.conftest import Api

W = "/v1/workspaces/default"
KEYED = {"base_url": "https://api.example.com", "auth_type": "APIKey", "credential": "sk-canary"}
TOOL: dict[str, Any] = {
    "base_url": "https://api.example.com/v1",
    "description": "Charges and refunds",
    "auth_type": "OAuth2",
    "port": 8443,
    "oauth2": {"token_url": "https://id.example.com/token", "client_id": "c", "scopes": ["read"]},
    "credential": "cs-canary",
    "capabilities": [{"name": "list", "method": "get", "path": "/charges/*"}],
    "risk_tags": ["money"],
    "access_mode": "Critical",
}
POLICY = {"rules": [{"permission": "allow", "resource": "https://api.example.com/*"}]}
PROVIDER = {"vendor": "openai", "models": ["gpt-4o-mini"], "credential": "sk-canary"}
BODIES: dict[str, dict[str, Any]] = {
    "tools": KEYED,
    "policies": POLICY,
    "model-providers": PROVIDER,
}


async def reference(api: Api, kind: Kind[Any], name: str) -> str:
    """Return the reference of the secret that a document names."""
    unit = Unit(api.services.store)
    id = await unit.resolve(await api.workspace_id(), kind.name, name)
    state = await unit.state(kind.decider, id or "")
    assert isinstance(state, Active)
    assert isinstance(state.spec, Tool | ModelProvider)
    return state.spec.credential


async def secret(api: Api, reference: str) -> str | None:
    """Return what the vault has under a reference."""
    try:
        return await api.services.vault.reveal(await api.workspace_id(), reference)
    except NotFound:
        return None


async def test_a_tool_is_shown_whole_but_for_its_secret(api: Api) -> None:
    made = await api.ask("PUT", f"{W}/tools/pay", json=TOOL)
    shown = await api.ask("GET", f"{W}/tools/pay")
    listed = await api.ask("GET", f"{W}/tools")

    assert made.status_code == 201
    assert made.json() == shown.json() == listed.json()["items"][0]
    tool = made.json()
    assert tool["address"] == "https://api.example.com:8443/v1"
    assert (tool["port"], tool["has_credential"], tool["lacks"]) == (8443, True, "")
    assert tool["oauth2"]["client_id"] == "c"
    assert tool["capabilities"] == [
        {
            "name": "list",
            "method": "GET",
            "path": "/charges/*",
            "description": "",
            "risk_tags": [],
        }
    ]
    assert (tool["risk_tags"], tool["access_mode"]) == (["money"], "Critical")
    assert await secret(api, await reference(api, TOOLS, "pay")) == "cs-canary"


async def test_a_policy_says_who_is_bound_to_it(api: Api) -> None:
    await api.ask("PUT", f"{W}/policies/careful", json=POLICY)
    body = {"source_files": {"agent.py": "print(1)"}, "policies": ["careful"]}
    for name in ("b-agent", "a-agent", "gone"):
        await api.ask("POST", "/api/deploy", json=body | {"agent_name": name})
    await api.ask("POST", "/api/deploy", json=body | {"agent_name": "free", "policies": []})
    await api.ask("DELETE", f"{W}/agents/gone")

    shown = (await api.ask("GET", f"{W}/policies/careful")).json()
    [listed] = (await api.ask("GET", f"{W}/policies")).json()["items"]

    assert shown["used_by"] == ["a-agent", "b-agent"]
    assert shown == listed
    assert shown["rules"] == [
        {
            "permission": "allow",
            "resource": "https://api.example.com/*",
            "operations": [],
            "tags": [],
        }
    ]


async def test_a_model_provider_is_shown_whole_but_for_its_key(api: Api) -> None:
    body = PROVIDER | {"endpoint": "https://api.openai.com", "requests_per_minute": 60}
    made = await api.ask("PUT", f"{W}/model-providers/openai", json=body)
    [listed] = (await api.ask("GET", f"{W}/model-providers")).json()["items"]

    provider = made.json()
    assert (made.status_code, listed) == (201, provider)
    assert provider["endpoint"] == "https://api.openai.com/v1"
    assert (provider["requests_per_minute"], provider["has_credential"]) == (60, True)
    assert await secret(api, await reference(api, MODEL_PROVIDERS, "openai")) == "sk-canary"


@pytest.mark.parametrize("noun", BODIES)
async def test_the_same_again_changes_nothing(api: Api, noun: str) -> None:
    path = f"{W}/{noun}/a"
    first = await api.ask("PUT", path, json=BODIES[noun])
    before = await api.services.store.head()

    again = await api.ask("PUT", path, json=BODIES[noun])

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert int(again.headers["x-argosy-position"]) == before == await api.services.store.head()


@pytest.mark.parametrize("noun", BODIES)
async def test_a_deleted_one_is_gone_and_its_name_is_free(api: Api, noun: str) -> None:
    path = f"{W}/{noun}/a"
    first = await api.ask("PUT", path, json=BODIES[noun])

    deleted = await api.ask("DELETE", path)

    assert deleted.status_code == 204
    assert (await api.ask("GET", path)).status_code == 404
    assert (await api.ask("DELETE", path)).status_code == 404
    assert (await api.ask("GET", f"{W}/{noun}")).json()["items"] == []
    again = await api.ask("PUT", path, json=BODIES[noun])
    assert (again.status_code, again.json()["revision"]) == (201, 1)
    assert again.json()["id"] != first.json()["id"]


@pytest.mark.parametrize("noun", BODIES)
async def test_fifty_at_once_make_one(api: Api, noun: str) -> None:
    path = f"{W}/{noun}/a"

    answers = await asyncio.gather(*(api.ask("PUT", path, json=BODIES[noun]) for _ in range(50)))

    assert sorted(each.status_code for each in answers) == [200] * 49 + [201]
    assert len({each.json()["id"] for each in answers}) == 1
    assert len((await api.ask("GET", f"{W}/{noun}")).json()["items"]) == 1


@pytest.mark.parametrize("noun", BODIES)
async def test_roles_and_workspaces_are_kept_apart(api: Api, noun: str) -> None:
    path = f"{W}/{noun}/a"
    viewer, deployer = await api.make_key("viewer"), await api.make_key("deployer")
    await api.ask("POST", "/v1/workspaces", json={"slug": "staging"})
    elsewhere = await api.make_key("deployer", "staging")

    assert (await api.ask("PUT", path, json=BODIES[noun], key=viewer)).status_code == 403
    assert (await api.ask("PUT", path, json=BODIES[noun], key=deployer)).status_code == 201
    assert (await api.ask("GET", path, key=viewer)).status_code == 200
    assert (await api.ask("DELETE", path, key=viewer)).status_code == 403
    assert (await api.ask("GET", path, key=elsewhere)).status_code == 404
    assert (await api.ask("DELETE", path, key=elsewhere)).status_code == 404
    assert (await api.ask("DELETE", path, key=deployer)).status_code == 204


async def test_lists_are_paged_newest_first(api: Api) -> None:
    for name in ("a", "b", "c"):
        await api.ask("PUT", f"{W}/tools/{name}", json={"base_url": "https://a.example"})

    first = (await api.ask("GET", f"{W}/tools?limit=2")).json()
    rest = (await api.ask("GET", f"{W}/tools?limit=2&cursor={first['next_cursor']}")).json()

    assert [each["name"] for each in first["items"] + rest["items"]] == ["c", "b", "a"]
    assert rest["next_cursor"] is None


# -- secrets


async def test_a_secret_is_kept_when_none_is_sent(api: Api) -> None:
    await api.ask("PUT", f"{W}/tools/a", json=KEYED)
    first = await reference(api, TOOLS, "a")
    without = {name: value for name, value in KEYED.items() if name != "credential"}

    kept = await api.ask("PUT", f"{W}/tools/a", json=without | {"description": "New"})

    assert (kept.json()["has_credential"], kept.json()["description"]) == (True, "New")
    assert await reference(api, TOOLS, "a") == first
    assert await secret(api, first) == "sk-canary"


@pytest.mark.parametrize("change", [{"credential": "sk-new"}, {"credential": ""}])
async def test_a_secret_that_nothing_names_any_more_is_forgotten(
    api: Api, change: dict[str, Any]
) -> None:
    await api.ask("PUT", f"{W}/tools/a", json=KEYED)
    first = await reference(api, TOOLS, "a")

    changed = await api.ask("PUT", f"{W}/tools/a", json=KEYED | change)

    assert changed.json()["has_credential"] is bool(change["credential"])
    assert changed.json()["lacks"] == (
        "" if change["credential"] else "Its credentials are missing."
    )
    assert await secret(api, first) is None
    second = await reference(api, TOOLS, "a")
    assert (await secret(api, second) if second else "") == change["credential"]


async def test_a_deleted_document_takes_its_secret_along_unless_another_names_it(
    api: Api,
) -> None:
    await api.ask("PUT", f"{W}/tools/a", json=KEYED)
    await api.ask("PUT", f"{W}/model-providers/b", json=PROVIDER)
    shared = await reference(api, TOOLS, "a")
    assert shared == await reference(api, MODEL_PROVIDERS, "b")

    await api.ask("DELETE", f"{W}/tools/a")
    after_one = await secret(api, shared)
    await api.ask("DELETE", f"{W}/model-providers/b")

    assert after_one == "sk-canary"
    assert await secret(api, shared) is None


async def test_a_secret_is_not_sent_elsewhere(api: Api) -> None:
    """Who may declare tools, and not read keys, could send one to a place of theirs."""
    await api.ask("PUT", f"{W}/tools/a", json=KEYED)
    moved = {"base_url": "https://evil.example.com", "auth_type": "APIKey"}

    refused = await api.ask("PUT", f"{W}/tools/a", json=moved)

    assert refused.status_code == 422
    assert refused.json()["field"] == "credential"
    assert (await api.ask("GET", f"{W}/tools/a")).json()["base_url"] == KEYED["base_url"]


async def test_a_refused_declaration_leaves_no_secret(api: Api) -> None:
    await api.ask("PUT", f"{W}/tools/a", json=KEYED)
    known = await reference(api, TOOLS, "a")
    await api.ask("DELETE", f"{W}/tools/a")

    refused = await api.ask("PUT", f"{W}/tools/a", json=KEYED | {"base_url": "ftp://a"})

    assert refused.status_code == 422
    assert await secret(api, known) is None, "the same secret has the same reference"


async def test_documents_of_one_secret_come_and_go_at_once(api: Api) -> None:
    """Whatever the order, no document is left naming a secret that is not there."""

    async def come_and_go(name: str) -> None:
        for _ in range(5):
            await api.ask("PUT", f"{W}/tools/{name}", json=KEYED)
            await api.ask("DELETE", f"{W}/tools/{name}")
        await api.ask("PUT", f"{W}/tools/{name}", json=KEYED)

    await asyncio.gather(*(come_and_go(f"t{number}") for number in range(8)))

    for number in range(8):
        assert await secret(api, await reference(api, TOOLS, f"t{number}")) == "sk-canary"


async def test_no_answer_and_no_event_shows_a_secret(api: Api) -> None:
    said: list[str] = []
    for noun, body in BODIES.items():
        for method, path in (
            ("PUT", f"{W}/{noun}/a"),
            ("GET", f"{W}/{noun}/a"),
            ("GET", f"{W}/{noun}"),
        ):
            said.append((await api.ask(method, path, json=body if method == "PUT" else None)).text)
    said.append((await api.ask("PUT", f"{W}/tools/b", json=KEYED | {"port": "x"})).text)
    said.append((await api.ask("PUT", f"{W}/tools/b", json=KEYED | {"auth_type": "None"})).text)
    said.append(
        (await api.ask("PUT", f"{W}/tools/b", json=KEYED | {"credential": "canary\n"})).text
    )
    known = await reference(api, TOOLS, "a")

    assert not [text for text in said if "canary" in text]
    assert not [text for text in said if known in text]
    log = await api.services.store.read_all(after=0)
    assert not [each for each in log if b"canary" in each.data]


BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("tools/a", {}, 400, "base_url"),
    ("tools/a", {"base_url": 5}, 400, "base_url"),
    ("tools/a", KEYED | {"nope": 1}, 400, "nope"),
    ("tools/a", KEYED | {"auth_type": "Basic"}, 400, "auth_type"),
    ("tools/a", KEYED | {"port": 0}, 400, "port"),
    ("tools/a", KEYED | {"port": 65536}, 400, "port"),
    ("tools/a", KEYED | {"api_key": {"in": "Header"}}, 400, "api_key.in"),
    ("tools/a", KEYED | {"api_key": {"location": "Cookie"}}, 400, "api_key.location"),
    ("tools/a", KEYED | {"capabilities": [{"method": "GET"}]}, 400, "capabilities[0].name"),
    ("tools/a", KEYED | {"capabilities": [{"name": "a", "tags": []}]}, 400, "capabilities[0].tags"),
    ("tools/a", KEYED | {"auth_type": "OAuth2"}, 422, "oauth2"),
    ("tools/a", KEYED | {"base_url": "ftp://a"}, 422, "base_url"),
    ("tools/a", KEYED | {"auth_type": "None"}, 422, "credential"),
    ("tools/a", KEYED | {"credential": "a\nb"}, 422, "credential"),
    ("tools/Not A Name", KEYED, 422, "name"),
    ("policies/a", {}, 400, "rules"),
    ("policies/a", {"rules": [{"resource": "*"}]}, 400, "rules[0].permission"),
    ("policies/a", {"rules": [{"permission": "may"}]}, 400, "rules[0].permission"),
    (
        "policies/a",
        {"rules": [{"permission": "deny", "resource": "*", "operation": ["GET"]}]},
        400,
        "rules[0].operation",
    ),
    ("policies/a", {"rules": [{"permission": "deny"}]}, 422, "rules[0].resource"),
    ("policies/a", POLICY | {"approvals": [1]}, 400, "approvals[0]"),
    ("model-providers/a", {"models": ["a"]}, 400, "vendor"),
    ("model-providers/a", PROVIDER | {"vendor": "acme"}, 400, "vendor"),
    ("model-providers/a", PROVIDER | {"models": [5]}, 400, "models[0]"),
    ("model-providers/a", PROVIDER | {"models": []}, 422, "models"),
    ("model-providers/a", PROVIDER | {"endpoint": "x"}, 422, "endpoint"),
    ("model-providers/a", PROVIDER | {"requests_per_minute": -1}, 422, "requests_per_minute"),
]


async def test_a_problem_names_the_field_and_nothing_is_made(api: Api) -> None:
    before = await api.services.store.head()
    for path, body, status, field in BAD:
        answer = await api.ask("PUT", f"{W}/{path}", json=body)

        assert answer.status_code == status, (path, body, answer.text)
        assert answer.json()["field"] == field, (path, body, answer.text)
    assert await api.services.store.head() == before


async def test_nothing_is_declared_in_an_archived_workspace(api: Api) -> None:
    made = (await api.ask("POST", "/v1/workspaces", json={"slug": "old"})).json()
    await api.ask("DELETE", "/v1/workspaces/old")

    answer = await api.ask("PUT", f"/v1/workspaces/{made['id']}/tools/a", json=KEYED)

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/workspace-archived"
