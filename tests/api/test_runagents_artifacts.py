"""Workflow artifacts of the RunAgents dialect: stored once, deployed by their id."""

from typing import Any

from tests.api.conftest import Api

FILES = {"agent.py": "print('stored')\n", "lib/words.txt": "grüße"}
PATH = "/api/workflow-artifacts"


BAD: list[dict[str, Any]] = [
    {},
    {"source_files": {}},
    {"source_files": {"../a.py": ""}},
    {"source_files": 1},
]


async def store(api: Api, files: dict[str, str] = FILES) -> dict[str, Any]:
    body = {"source_type": "code", "build_mode": "native", "source_files": files}
    answer = await api.ask("POST", PATH, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_source_is_stored_once_and_shown(api: Api) -> None:
    before = await api.services.store.head()

    made = await store(api)
    again = await store(api)
    other = await store(api, {"agent.py": "print(2)"})

    assert again == made
    assert other["id"] != made["id"]
    assert made["files"] == ["agent.py", "lib/words.txt"]
    assert await api.new_types(before) == ["document.applied"] * 2
    assert (await api.ask("GET", f"{PATH}/{made['id']}")).json() == made
    listed = (await api.ask("GET", PATH)).json()
    assert [each["id"] for each in listed] == [other["id"], made["id"]]


async def test_an_artifact_is_deployed_by_its_id(api: Api) -> None:
    made = await store(api)

    for path in ("/api/deploy/preview", "/api/deploy"):
        answer = await api.ask("POST", path, json={"agent_name": "a", "artifact_id": made["id"]})
        assert answer.is_success, answer.text
    assert answer.json()["execution_mode"] == "INSTANT_RUNTIME"
    agent = (await api.ask("GET", "/v1/workspaces/default/agents/a")).json()
    direct = await api.ask("POST", "/api/deploy", json={"agent_name": "a", "source_files": FILES})
    assert direct.status_code == 201
    assert (await api.ask("GET", "/v1/workspaces/default/agents/a")).json() == agent


async def test_files_in_the_request_win(api: Api) -> None:
    made = await store(api, {"agent.py": "syntax error("})
    body = {"agent_name": "a", "artifact_id": made["id"]}

    refused = await api.ask("POST", "/api/deploy", json=body)
    taken = await api.ask("POST", "/api/deploy", json=body | {"source_files": FILES})

    assert (refused.status_code, taken.status_code) == (400, 201)
    assert "agent.py, line 1" in refused.json()["error"]


async def test_an_artifact_of_another_workspace_is_not_there(api: Api) -> None:
    await api.ask("POST", "/v1/workspaces", json={"slug": "staging"})
    made = await store(api)
    key = await api.make_key("admin", "staging")

    shown = await api.ask("GET", f"{PATH}/{made['id']}", key=key)
    body = {"agent_name": "a", "artifact_id": made["id"]}
    deployed = await api.ask("POST", "/api/deploy", json=body, key=key)

    assert shown.status_code == 404
    assert deployed.status_code == 400
    assert "was not found" in deployed.json()["error"]


async def test_what_is_no_source_is_refused(api: Api) -> None:
    before = await api.services.store.head()
    for body in BAD:
        answer = await api.ask("POST", PATH, json=body)
        assert answer.status_code == 400, answer.text
        assert "source_files" in answer.json()["error"]
    answer = await api.ask("POST", PATH, json={"source_files": FILES, "build_mode": "docker"})
    assert answer.status_code == 400
    assert await api.services.store.head() == before
