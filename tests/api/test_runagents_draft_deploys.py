"""Deploys of drafts in the RunAgents dialect: what is taken from where, and that it is once."""

import asyncio
from typing import Any

import pytest

from domain.ids import new_id
from tests.api.conftest import Api

PATH = "/api/deploy-drafts"
FILES = {"agent.py": "print('drafted')\n"}
OTHER = {"agent.py": "print('sent')\n"}
CHAT = {"chat": {"provider": "openai", "model": "gpt-4o-mini"}}
CONFIG = {"agent_name": "a", "system_prompt": "Be brief.", "identity_provider": "okta"}
SAID: dict[str, Any] = {
    "policies": ["echo-read-policy"],
    "required_tool_names": ["echo-tool"],
    "tool_mappings": {"https://api.example.com": "echo-tool", "mailer": "mail"},
    "model_mappings": CHAT,
    "agent_config": CONFIG,
}
# What a deploy without a draft sends for the same.
SAME: dict[str, Any] = {
    "agent_name": "a",
    "system_prompt": "Be brief.",
    "identity_provider": "okta",
    "policies": ["echo-read-policy"],
    "required_tools": ["echo-tool", "mail"],
    "tool_url_mappings": {"https://api.example.com": "echo-tool"},
    "llm_configs": [{"provider": "openai", "model": "gpt-4o-mini", "role": "chat"}],
}


async def artifact(api: Api, files: dict[str, str] = FILES) -> str:
    made = await api.ask("POST", "/api/workflow-artifacts", json={"source_files": files})
    return made.json()["id"]


async def begin(api: Api, **said: Any) -> str:
    """Begin a draft with a source; returns its id."""
    await api.ask("POST", "/api/starter-kit")
    body = {"artifact_id": await artifact(api), **SAID, **said}
    made = await api.ask("POST", PATH, json=body)
    assert made.status_code == 201, made.text
    return made.json()["id"]


async def status(api: Api, id: str) -> str:
    return (await api.ask("GET", f"{PATH}/{id}")).json()["status"]


async def deploy(api: Api, **body: Any) -> dict[str, Any]:
    answer = await api.ask("POST", "/api/deploy", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def revisions(api: Api, name: str = "a") -> list[dict[str, Any]]:
    shown = await api.ask("GET", f"/v1/workspaces/default/deployments/{name}")
    return shown.json()["revisions"]


async def refused(api: Api, code: int, says: str, path: str = "/api/deploy", **body: Any) -> None:
    """Ask for what is refused, in these words, and leaves nothing behind."""
    before = await api.services.store.head()
    answer = await api.ask("POST", path, json=body)
    assert (answer.status_code, says in answer.json()["error"]) == (code, True), answer.text
    assert await api.services.store.head() == before


async def test_a_draft_is_deployed_as_if_all_of_it_had_been_sent(api: Api) -> None:
    id = await begin(api)

    answer = await deploy(api, draft_id=id)
    again = await deploy(api, source_files=FILES, **SAME)

    assert (answer["agent"], answer["status"], again["status"]) == ("a", "created", "updated")
    assert len(await revisions(api)) == 1
    done = (await api.ask("GET", f"{PATH}/{id}")).json()
    assert (done["status"], done["version"], done["deployed_as"]) == ("COMPLETED", 2, "a")
    assert (await api.ask("GET", PATH)).json() == [done]


async def test_it_is_one_transaction(api: Api) -> None:
    id = await begin(api)
    before = await api.services.store.head()

    await deploy(api, draft_id=id)

    log = await api.services.store.read_all(after=before)
    assert [each.type for each in log][:2] == ["draft.completed", "agent.created"]
    assert len({each.command_id for each in log}) == 1


async def test_what_the_request_says_wins(api: Api) -> None:
    id = await begin(api)
    models = [{"provider": "ollama", "model": "llama", "role": "embedding"}]

    await deploy(
        api,
        draft_id=id,
        agent_name="b",
        source_files=OTHER,
        system_prompt="",
        required_tools=[],
        llm_configs=models,
    )
    await deploy(api, agent_name="c", source_files=OTHER, llm_configs=models)

    [made], [plain] = await revisions(api, "b"), await revisions(api, "c")
    assert made["settings"] == {
        **plain["settings"],
        "policies": ["echo-read-policy"],
        "identity_provider": "okta",
        "tool_url_mappings": {"https://api.example.com": "echo-tool"},
    }
    agents = "/v1/workspaces/default/agents"
    b, c = [(await api.ask("GET", f"{agents}/{name}")).json() for name in "bc"]
    assert b["versions"][0]["definition"] == c["versions"][0]["definition"]
    assert (await api.ask("GET", f"{PATH}/{id}")).json()["deployed_as"] == "b"


async def test_what_neither_says_stays_as_it_was(api: Api) -> None:
    await deploy(api, agent_name="a", source_files=FILES, env=[{"name": "A", "value": "1"}])
    body = {"artifact_id": await artifact(api), "agent_config": {"agent_name": "a"}}
    id = (await api.ask("POST", PATH, json=body)).json()["id"]

    await deploy(api, draft_id=id)

    [only] = await revisions(api)
    assert only["settings"]["environment"] == {"A": "1"}


async def test_an_image_is_deployed_where_the_draft_says_so(api: Api) -> None:
    image = {"custom_image": "ghcr.io/acme/echo:1", "use_custom_image": True}
    id = await begin(api, agent_config={**CONFIG, **image})

    preview = await api.ask("POST", "/api/deploy/preview", json={"draft_id": id})
    answer = await deploy(api, draft_id=id)

    assert preview.json()["advanced_details"]["execution_kind"] == "image"
    assert answer["execution_mode"] == "IMAGE"


async def test_a_preview_changes_nothing(api: Api) -> None:
    id = await begin(api)
    before = await api.services.store.head()

    answer = await api.ask("POST", "/api/deploy/preview", json={"draft_id": id})

    assert answer.json()["user_state"] == "instant"
    assert await api.services.store.head() == before
    assert await status(api, id) == "IN_PROGRESS"


@pytest.mark.parametrize("path", ["/api/deploy", "/api/deploy/preview"])
async def test_what_cannot_be_deployed_is_refused_and_stays_as_it_is(api: Api, path: str) -> None:
    none = (await api.ask("POST", PATH, json={"agent_config": {"agent_name": "a"}})).json()["id"]
    image = await begin(api, agent_config={**CONFIG, "use_custom_image": True})
    lost = await begin(api, artifact_id=new_id())
    bound = await begin(api, policies=["nothing"])
    nameless = await begin(api, agent_config={})

    await refused(api, 404, "draft_id: deploy draft 'd-1'", path, draft_id="d-1", agent_name="a")
    await refused(api, 404, "draft_id: deploy draft", path, draft_id=new_id())
    await refused(api, 400, "draft_id: the draft has no source", path, draft_id=none)
    await refused(api, 400, "agent_config.custom_image", path, draft_id=image)
    await refused(api, 400, "artifact_id", path, draft_id=lost)
    await refused(api, 400, "policies[0]", path, draft_id=bound)
    await refused(api, 400, "agent_name is required", path, draft_id=nameless)
    await refused(api, 400, "draft_id", path, draft_id=7)

    assert {await status(api, id) for id in (none, image, lost, bound, nameless)} == {"IN_PROGRESS"}


@pytest.mark.parametrize("path", ["/api/deploy", "/api/deploy/preview"])
@pytest.mark.parametrize("verb", ["complete", "abandon"])
async def test_a_draft_that_has_ended_is_not_deployed(api: Api, path: str, verb: str) -> None:
    id = await begin(api)
    await api.ask("POST", f"{PATH}/{id}/{verb}")

    await refused(api, 409, f"was {verb.removesuffix('e')}ed", path, draft_id=id)
    await refused(api, 409, "make another", path, draft_id=id, agent_name="b", source_files=OTHER)
    empty = (await api.ask("POST", PATH)).json()["id"]
    await api.ask("POST", f"{PATH}/{empty}/{verb}")
    await refused(api, 409, "make another", path, draft_id=empty, agent_name="b")


async def test_a_deleted_draft_is_not_deployed(api: Api) -> None:
    id = await begin(api)
    await api.ask("DELETE", f"{PATH}/{id}")

    await refused(api, 404, f"draft_id: deploy draft {id!r} was not found", draft_id=id)


@pytest.mark.parametrize("names", ["a" * 10, "abcdefghij"], ids=["one_name", "ten_names"])
async def test_of_deploys_at_once_exactly_one_is_taken(api: Api, names: str) -> None:
    id = await begin(api)

    answers = await asyncio.gather(
        *(
            api.ask("POST", "/api/deploy", json={"draft_id": id, "agent_name": name})
            for name in names
        )
    )

    assert sorted(each.status_code for each in answers) == [201] + [409] * 9
    assert all("completed" in each.text for each in answers if each.status_code == 409)
    assert len((await api.ask("GET", "/api/agents")).json()) == 1


async def test_a_deploy_that_is_sent_again_is_answered_as_it_was(api: Api) -> None:
    """Also when the draft is gone by then."""
    id = await begin(api)
    sent: dict[str, Any] = {
        "json": {"draft_id": id},
        "headers": {"Idempotency-Key": "deploy"},
    }

    first = await api.ask("POST", "/api/deploy", **sent)
    again = await api.ask("POST", "/api/deploy", **sent)
    await api.ask("DELETE", f"{PATH}/{id}")
    last = await api.ask("POST", "/api/deploy", **sent)

    assert [each.status_code for each in (first, again, last)] == [201, 201, 201]
    assert first.json() == again.json() == last.json()
    assert len(await revisions(api)) == 1


async def test_a_change_beside_a_deploy_is_in_it_or_refused(api: Api) -> None:
    """Whichever is first: nothing is deployed that the draft did not say when it was completed."""
    for number in range(5):
        name = f"a{number}"
        id = await begin(api, agent_config={**CONFIG, "agent_name": name})
        change = {"agent_config": {"system_prompt": "changed"}}

        deployed, changed = await asyncio.gather(
            api.ask("POST", "/api/deploy", json={"draft_id": id}),
            api.ask("PATCH", f"{PATH}/{id}", json=change),
        )

        assert deployed.status_code in {201, 409}, deployed.text
        assert changed.status_code in {200, 409}, changed.text
        draft = (await api.ask("GET", f"{PATH}/{id}")).json()
        assert (draft["status"] == "COMPLETED") == (deployed.status_code == 201)
        if deployed.status_code == 201:
            [made] = await revisions(api, name)
            assert made["settings"]["system_prompt"] == draft["agent_config"]["system_prompt"]
        else:
            assert "is at version 2" in deployed.json()["error"]
