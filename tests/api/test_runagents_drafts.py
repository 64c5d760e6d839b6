"""Deploy drafts of the RunAgents dialect: said step by step, for one version, and ended once."""

from typing import Any

import pytest

from domain.ids import new_id
from tests.api.conftest import Api

PATH = "/api/deploy-drafts"
CONFIG = {
    "agent_name": "drafted",
    "system_prompt": "Be brief.",
    "use_custom_image": False,
    "custom_image": "ghcr.io/acme/echo:1",
    "access_mode": "Open",
    "identity_provider": "okta",
}
FULL: dict[str, Any] = {
    "artifact_id": "0193f2a0-5b00-7000-8000-000000000009",
    "source_type": "code",
    "step": "deploy",
    "policies": ["p"],
    "required_tool_names": ["search"],
    "tool_mappings": {"https://api.example.com": "payments", "mailer": "mail"},
    "model_mappings": {
        "chat": {"provider": "openai", "model": "gpt-4o-mini"},
        "embedding": {"provider": "ollama", "model": "nomic"},
    },
    "agent_config": CONFIG,
}


async def begin(api: Api, **said: Any) -> dict[str, Any]:
    answer = await api.ask("POST", PATH, json=said)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def change(api: Api, draft: dict[str, Any], **said: Any) -> dict[str, Any]:
    answer = await api.ask("PATCH", f"{PATH}/{draft['id']}", json=said)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def shown(api: Api, draft: dict[str, Any]) -> dict[str, Any]:
    return (await api.ask("GET", f"{PATH}/{draft['id']}")).json()


async def test_what_was_said_is_shown_and_nothing_else(api: Api) -> None:
    before = await api.services.store.head()
    empty = (await api.ask("POST", PATH)).json()
    full = await begin(api, **FULL)

    assert set(empty) == {"id", "namespace", "status", "version", "created_at", "updated_at"}
    assert (empty["status"], empty["version"], empty["namespace"]) == ("IN_PROGRESS", 1, "default")
    assert {name: full[name] for name in FULL} == FULL
    assert await shown(api, full) == full
    assert (await api.ask("GET", PATH)).json() == [full, empty]
    assert await api.new_types(before) == ["draft.created"] * 2


async def test_a_change_leaves_what_it_does_not_name(api: Api) -> None:
    draft = await begin(api, **FULL)

    changed = await change(
        api,
        draft,
        expected_version=1,
        step="models",
        policies=[],
        tool_mappings={"mailer": "post"},
        model_mappings={},
        source_type=None,
        agent_config={"system_prompt": "", "agent_name": None},
    )

    assert changed["version"] == 2
    assert {name: changed[name] for name in FULL} == {
        **FULL,
        "step": "models",
        "policies": [],
        "tool_mappings": {"mailer": "post"},
        "model_mappings": {},
        "agent_config": {**CONFIG, "system_prompt": ""},
    }
    assert await shown(api, draft) == changed
    assert (await api.ask("GET", PATH)).json() == [changed]


async def test_a_change_of_nothing_is_no_version(api: Api) -> None:
    draft = await begin(api, **FULL)
    before = await api.services.store.head()

    for same in ({}, FULL, {"expected_version": 1, "step": "deploy"}):
        assert await change(api, draft, **same) == draft

    assert await api.services.store.head() == before


@pytest.mark.parametrize("verb", ["patch", "complete", "abandon", "delete"])
async def test_what_was_meant_for_another_version_is_refused(api: Api, verb: str) -> None:
    draft = await begin(api)
    path = f"{PATH}/{draft['id']}"
    now = await change(api, draft, step="two")
    before = await api.services.store.head()

    for stale in (1, 3):
        expected = {"expected_version": stale}
        if verb == "patch":
            answer = await api.ask("PATCH", path, json={"step": "three", **expected})
        elif verb == "delete":
            answer = await api.ask("DELETE", path, params=expected)
        else:
            answer = await api.ask("POST", f"{path}/{verb}", json=expected)
        assert answer.status_code == 409, answer.text
        assert "is at version 2" in answer.json()["error"]

    assert await shown(api, draft) == now
    assert await api.services.store.head() == before


@pytest.mark.parametrize(("verb", "status"), [("complete", "COMPLETED"), ("abandon", "ABANDONED")])
async def test_a_draft_is_ended_once_and_stays(api: Api, verb: str, status: str) -> None:
    draft = await begin(api, **FULL)
    path = f"{PATH}/{draft['id']}"

    answer = await api.ask("POST", f"{path}/{verb}", json={"expected_version": 1})

    assert answer.status_code == 200
    assert answer.json() == {
        **draft,
        "status": status,
        "version": 2,
        "updated_at": answer.json()["updated_at"],
    }
    assert (await api.ask("GET", PATH)).json() == [answer.json()]
    for method, asked, body in (
        ("PATCH", path, {"step": "more"}),
        ("POST", f"{path}/complete", None),
        ("POST", f"{path}/abandon", None),
    ):
        refused = await api.ask(method, asked, json=body)
        assert refused.status_code == 409
        assert status.lower() in refused.json()["error"]
    assert await shown(api, draft) == answer.json()


async def test_a_deleted_draft_is_not_there(api: Api) -> None:
    for end in (None, "complete", "abandon"):
        draft = await begin(api)
        path = f"{PATH}/{draft['id']}"
        if end:
            await api.ask("POST", f"{path}/{end}")

        deleted = await api.ask("DELETE", path)

        assert (deleted.status_code, deleted.json()) == (200, {"status": "deleted"})
        for method, asked in (
            ("GET", path),
            ("PATCH", path),
            ("DELETE", path),
            ("POST", f"{path}/complete"),
        ):
            assert (await api.ask(method, asked)).status_code == 404
    assert (await api.ask("GET", PATH)).json() == []


async def test_sent_again_under_one_key_is_one_draft_and_one_end(api: Api) -> None:
    headers = {"Idempotency-Key": "begin"}
    first = await api.ask("POST", PATH, json={"step": "one"}, headers=headers)
    await change(api, first.json(), step="two")
    again = await api.ask("POST", PATH, json={"step": "one"}, headers=headers)
    end = f"{PATH}/{first.json()['id']}/abandon"
    ended = [await api.ask("POST", end, headers={"Idempotency-Key": "end"}) for _ in range(2)]

    assert again.json() == first.json()
    assert [each.status_code for each in ended] == [200, 200]
    assert ended[0].json() == ended[1].json()
    assert len((await api.ask("GET", PATH)).json()) == 1


async def test_what_is_no_draft_is_a_404(api: Api) -> None:
    for id in (new_id(), "d-1", "%00"):
        for method in ("GET", "PATCH", "DELETE"):
            answer = await api.ask(method, f"{PATH}/{id}")
            assert answer.status_code == 404, answer.text
            assert "deploy draft" in answer.json()["error"]


async def test_a_draft_of_another_workspace_is_not_there(api: Api) -> None:
    await api.ask("POST", "/v1/workspaces", json={"slug": "staging"})
    draft = await begin(api, **FULL)
    key = await api.make_key("admin", "staging")
    before = await api.services.store.head()

    for method, path, body in (
        ("GET", f"{PATH}/{draft['id']}", None),
        ("PATCH", f"{PATH}/{draft['id']}", {"step": "theirs"}),
        ("DELETE", f"{PATH}/{draft['id']}", None),
        ("POST", f"{PATH}/{draft['id']}/complete", None),
        ("POST", "/api/deploy", {"draft_id": draft["id"]}),
        ("POST", "/api/deploy/preview", {"draft_id": draft["id"]}),
    ):
        answer = await api.ask(method, path, json=body, key=key)
        assert answer.status_code == 404, (path, answer.text)
    assert (await api.ask("GET", PATH, key=key)).json() == []
    assert await api.services.store.head() == before


BAD: list[tuple[dict[str, Any] | bytes, str]] = [
    (b"{", "not JSON"),
    (b"[]", "object"),
    ({"artifact_id": 7}, "artifact_id"),
    ({"step": "x" * 201}, "step"),
    ({"policies": "p"}, "policies"),
    ({"policies": [1]}, "policies[0]"),
    ({"policies": ["p"] * 201}, "policies has at most 200"),
    ({"required_tool_names": ["ok", "Not A Name"]}, "required_tool_names[1]"),
    ({"tool_mappings": {"mailer": "Not A Name"}}, "tool_mappings.mailer"),
    ({"tool_mappings": {"https://u:p@x.example": "mail"}}, "tool_mappings.https://u:p@x.example"),
    (
        {"model_mappings": {"poet": {"provider": "openai", "model": "m"}}},
        "chat, default, embedding",
    ),
    ({"model_mappings": {"chat": {"provider": "nobody", "model": "m"}}}, "anthropic, bedrock"),
    ({"model_mappings": {"chat": {"provider": "openai"}}}, "model_mappings.chat.model"),
    (
        {"model_mappings": {"chat": {"provider": "openai", "model": ""}}},
        "model_mappings.chat.model",
    ),
    ({"agent_config": []}, "agent_config"),
    ({"agent_config": {"agent_name": "No Name"}}, "agent_config.agent_name"),
    ({"agent_config": {"custom_image": "no image!"}}, "agent_config.custom_image"),
    ({"agent_config": {"use_custom_image": "yes"}}, "agent_config.use_custom_image"),
    ({"agent_config": {"system_prompt": "x" * 100_001}}, "agent_config.system_prompt"),
    ({"status": "COMPLETED"}, "POST …/complete"),
    ({"status": "ABANDONED"}, "POST …/abandon"),
    ({"status": "DONE"}, "status"),
]


@pytest.mark.parametrize(("body", "says"), BAD, ids=range(len(BAD)))
async def test_what_is_no_draft_at_all_is_named(
    api: Api, body: dict[str, Any] | bytes, says: str
) -> None:
    draft = await begin(api)
    before = await api.services.store.head()

    for method, path in (("POST", PATH), ("PATCH", f"{PATH}/{draft['id']}")):
        sent: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        answer = await api.ask(method, path, **sent)
        assert answer.status_code == 400, answer.text
        assert says in answer.json()["error"]

    assert await api.services.store.head() == before


async def test_a_version_that_none_can_be_is_named(api: Api) -> None:
    path = f"{PATH}/{(await begin(api))['id']}"
    for version in (0, -1, "two", 1.5, "null"):
        body = {"expected_version": version}
        for method, asked in (("PATCH", path), ("POST", f"{path}/complete")):
            answer = await api.ask(method, asked, json=body)
            assert answer.status_code == 400
            assert "expected_version" in answer.json()["error"]
        answer = await api.ask("DELETE", path, params=body)
        assert answer.status_code == 400
        assert "expected_version" in answer.json()["error"]


async def test_nothing_new_is_drafted_in_an_archived_workspace(api: Api) -> None:
    await api.ask("POST", "/v1/workspaces", json={"slug": "staging"})
    key = await api.make_key("admin", "staging")
    path = f"{PATH}/{(await api.ask('POST', PATH, key=key)).json()['id']}"
    await api.ask("DELETE", "/v1/workspaces/staging")
    before = await api.services.store.head()

    for method, asked in (("POST", PATH), ("PATCH", path), ("POST", f"{path}/abandon")):
        answer = await api.ask(method, asked, json={}, key=key)
        assert answer.status_code == 404, answer.text

    assert await api.services.store.head() == before


async def test_the_log_tells_a_drafts_story(api: Api) -> None:
    draft = await begin(api, step="one")
    await change(api, draft, step="two")
    await api.ask("POST", f"{PATH}/{draft['id']}/abandon")

    then = (await api.ask("GET", f"/v1/streams/draft-{draft['id']}?at=1")).json()["state"]
    now = (await api.ask("GET", f"/v1/streams/draft-{draft['id']}")).json()["state"]

    assert (then["kind"], then["content"]) == ("inprogress", {"step": "one"})
    assert (now["kind"], now["how"], now["content"]) == ("ended", "abandoned", {"step": "two"})
