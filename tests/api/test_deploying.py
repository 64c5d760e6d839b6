"""Deploying natively: what is made, what is kept, and what a repeated request does."""

import asyncio
import hashlib
from typing import Any

import pytest

from domain.agents import AGENT, Active
from domain.catalog import DocumentApplied
from tests.api.conftest import Api

SOURCE = {"files": {"agent.py": "def handler(request):\n    return 'x'\n"}}
PATH = "/v1/workspaces/default/deployments"


async def test_a_source_that_needs_nothing_serves_at_once(api: Api) -> None:
    before = await api.services.store.head()

    answer = await api.ask("POST", PATH, json={"name": "echo", "source": SOURCE})

    assert answer.status_code == 201
    made = answer.json()
    assert made["execution_mode"] == "INSTANT_RUNTIME"
    assert made["build_required"] is False
    assert made["build_id"] is None
    assert made["deployment"]["status"] == "ready"
    assert made["deployment"]["serving"] == 1
    assert made["endpoint"].endswith("/v1/workspaces/default/deployments/echo/runs")
    assert await api.new_types(before) == [
        "agent.created",
        "agent.version_drafted",
        "agent.version_ready",
        "deployment.created",
        "deployment.revision_made",
        "deployment.revision_ready",
    ]
    assert int(answer.headers["x-argosy-position"]) == before + 6


async def test_requirements_ask_for_a_build(api: Api) -> None:
    source = {"files": {"agent.py": "import six", "requirements.txt": "six==1.17\n"}}

    made = (await api.ask("POST", PATH, json={"name": "echo", "source": source})).json()

    assert made["execution_mode"] == "FAST_OVERLAY"
    assert made["deployment"]["status"] == "building"
    build = (await api.ask("GET", f"/v1/builds/{made['build_id']}")).json()
    assert (build["status"], build["mode"]) == ("waiting", "FAST_OVERLAY")
    assert build["agent_name"] == "echo"
    listed = (await api.ask("GET", "/v1/workspaces/default/builds")).json()["items"]
    assert listed == [build]
    events = (await api.ask("GET", f"/v1/builds/{made['build_id']}/events")).json()
    assert [each["type"] for each in events["items"]] == ["status"]


async def test_the_files_are_kept_as_blobs(api: Api) -> None:
    made = (await api.ask("POST", PATH, json={"name": "echo", "source": SOURCE})).json()

    agent = (await api.ask("GET", f"/v1/agents/{made['agent_id']}")).json()

    [version] = agent["versions"]
    digest = version["definition"]["files"]["agent.py"]
    assert await api.services.blobs.get(digest) == SOURCE["files"]["agent.py"].encode()


async def test_the_same_deploy_again_makes_nothing(api: Api) -> None:
    first = (await api.ask("POST", PATH, json={"name": "echo", "source": SOURCE})).json()
    before = await api.services.store.head()

    again = await api.ask("POST", PATH, json={"name": "echo", "source": SOURCE})

    assert again.status_code == 201
    assert again.json() == first
    assert await api.new_types(before) == []


async def test_another_source_is_another_version(api: Api) -> None:
    await api.deploy()
    other = {"files": {"agent.py": "print('other')"}}

    made = (await api.ask("POST", PATH, json={"name": "echo", "source": other})).json()

    assert (made["version"], made["revision"]) == (2, 2)
    assert made["deployment"]["serving"] == 2
    listed = (await api.ask("GET", "/v1/workspaces/default/agents")).json()["items"]
    assert [(each["name"], each["latest_version"]) for each in listed] == [("echo", 2)]
    shown = (await api.ask("GET", "/v1/workspaces/default/deployments/echo")).json()
    by_id = (await api.ask("GET", f"/v1/deployments/{shown['id']}")).json()
    assert shown == by_id == made["deployment"]
    [row] = (await api.ask("GET", PATH)).json()["items"]
    assert (row["id"], row["status"], row["serving"]) == (shown["id"], "ready", 2)
    assert [each["revision"] for each in row["revisions"]] == [2]


async def test_a_text_that_the_agent_has_need_not_be_sent_again(api: Api) -> None:
    data = "".join(f"line {number}\n" for number in range(1000))
    digest = f"sha256:{hashlib.sha256(data.encode()).hexdigest()}"
    first = {"files": {**SOURCE["files"], "data.txt": data}}
    again = {"files": {"agent.py": "print(1)\n", "moved.txt": {"digest": digest}}}
    await api.ask("POST", PATH, json={"name": "echo", "source": first})

    made = await api.ask("POST", PATH, json={"name": "echo", "source": again})

    assert made.status_code == 201, made.text
    agent = (await api.ask("GET", f"/v1/agents/{made.json()['agent_id']}")).json()
    assert agent["versions"][1]["definition"]["files"]["moved.txt"] == digest


@pytest.mark.parametrize("name", ["other", "echo"])
async def test_only_what_the_same_agent_has_can_be_named(api: Api, name: str) -> None:
    """Nobody learns by a digest what others have, let alone gets it."""
    secret = "SECRET = 1\n"
    digest = f"sha256:{hashlib.sha256(secret.encode()).hexdigest()}"
    theirs = {"files": {**SOURCE["files"], "secret.py": secret}}
    await api.ask("POST", PATH, json={"name": "theirs", "source": theirs})
    await api.ask("POST", PATH, json={"name": "echo", "source": SOURCE})
    before = await api.services.store.head()

    stolen = {"files": {**SOURCE["files"], "stolen.py": {"digest": digest}}}
    answer = await api.ask("POST", PATH, json={"name": name, "source": stolen})

    assert answer.status_code == 422
    assert answer.json()["field"] == "source.files.stolen.py"
    assert await api.services.store.head() == before


async def test_settings_alone_are_a_revision(api: Api) -> None:
    await api.deploy()

    made = await api.deploy(environment={"A": "b"}, limits={"seconds": 5}, max_attempts=3)

    assert (made["version"], made["revision"]) == (1, 2)
    settings = made["deployment"]["revisions"][1]["settings"]
    assert settings["environment"] == {"A": "b"}
    assert settings["limits"]["seconds"] == 5
    assert settings["max_attempts"] == 3


async def test_fifty_deploys_at_once_make_one_agent(api: Api) -> None:
    body = {"name": "echo", "source": SOURCE}

    answers = await asyncio.gather(*(api.ask("POST", PATH, json=body) for _ in range(50)))

    assert {each.status_code for each in answers} == {201}
    assert len({each.json()["agent_id"] for each in answers}) == 1
    assert len((await api.ask("GET", "/v1/workspaces/default/agents")).json()["items"]) == 1


async def test_an_idempotency_key_gives_the_answer_of_then(api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"name": "echo", "source": SOURCE}
    first = await api.ask("POST", PATH, json=body, headers=headers)
    await api.deploy(source={"files": {"agent.py": "print('newer')"}})
    before = await api.services.store.head()

    again = await api.ask("POST", PATH, json=body, headers=headers)
    other = await api.ask("POST", PATH, json=body | {"max_attempts": 2}, headers=headers)
    bad = await api.ask("POST", PATH, json=body, headers={"Idempotency-Key": "a b"})

    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert other.status_code == 409
    assert other.json()["type"] == "/problems/idempotency-mismatch"
    assert bad.status_code == 400
    assert await api.new_types(before) == []


async def test_twenty_requests_with_one_idempotency_key_do_it_once(api: Api) -> None:
    await api.deploy()
    path = f"{PATH}/echo/runs"
    headers = {"Idempotency-Key": "once"}

    answers = await asyncio.gather(
        *(api.ask("POST", path, json={"message": "x"}, headers=headers) for _ in range(20))
    )

    assert {each.status_code for each in answers} == {202}
    assert len({each.text for each in answers}) == 1


async def test_an_image_is_recorded_and_not_run(api: Api) -> None:
    made = (await api.ask("POST", PATH, json={"name": "img", "image": "ghcr.io/a/b:1"})).json()

    assert made["execution_mode"] == "IMAGE"
    assert made["build_required"] is False
    assert made["build_profile"] == "none"


async def test_a_deleted_agent_takes_its_deployment_along(api: Api) -> None:
    made = await api.deploy()
    before = await api.services.store.head()

    deleted = await api.ask("DELETE", "/v1/workspaces/default/agents/echo")

    assert deleted.status_code == 204
    assert await api.new_types(before) == ["agent.archived", "deployment.archived"]
    assert (await api.ask("GET", "/v1/workspaces/default/agents/echo")).status_code == 404
    assert (await api.ask("GET", f"/v1/agents/{made['agent_id']}")).json()["status"] == "archived"
    assert (await api.ask("GET", "/v1/workspaces/default/agents")).json()["items"] == []
    again = await api.ask("DELETE", f"/v1/agents/{made['agent_id']}")
    assert again.status_code == 204
    missing = await api.ask("DELETE", "/v1/workspaces/default/agents/echo")
    assert missing.status_code == 404
    assert (await api.deploy())["version"] == 1


async def test_a_deploy_stores_no_tools_natively(api: Api) -> None:
    made = await api.deploy()

    log = await api.services.store.read_all(after=0)

    documents = [each.event for each in log if isinstance(each.event, DocumentApplied)]
    assert {each.spec.__struct_config__.tag for each in documents} == {"api_key"}
    head = await api.services.store.load(f"agent-{made['agent_id']}")
    state = AGENT.fold(each.event for each in head.events)
    assert isinstance(state, Active)


MODEL = {"model": "gpt-4o-mini"}


async def test_a_prompt_a_model_and_tools_are_an_agent(api: Api) -> None:
    body = {
        "name": "helper",
        "system_prompt": "Be kind.",
        "llm_configs": [MODEL | {"role": "chat", "monthly_budget_usd": 5.0}],
        "required_tools": ["echo-tool"],
    }

    answer = await api.ask("POST", PATH, json=body)

    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["execution_mode"] == "INSTANT_RUNTIME"
    assert made["decision_reason"] == "There is no code; nothing has to be built."
    [revision] = made["deployment"]["revisions"]
    assert revision["status"] == "ready"
    assert revision["settings"]["llm_configs"] == [
        {"model": "gpt-4o-mini", "role": "chat", "monthly_budget_usd": 5.0}
    ]
    assert revision["settings"]["required_tools"] == ["echo-tool"]
    agent = (await api.ask("GET", f"/v1/agents/{made['agent_id']}")).json()
    assert agent["versions"][0]["definition"] == {"kind": "configuration"}
    again = (await api.ask("POST", PATH, json=body)).json()
    assert (again["version"], again["revision"]) == (1, 1)


async def test_documents_beside_a_model_are_kept_and_not_run(api: Api) -> None:
    source = {"files": {"README.md": "# Hello", "prompts/system.txt": "Be kind."}}

    answer = await api.ask(
        "POST", PATH, json={"name": "helper", "source": source, "llm_configs": [MODEL]}
    )

    assert answer.status_code == 201, answer.text
    agent = (await api.ask("GET", f"/v1/agents/{answer.json()['agent_id']}")).json()
    definition = agent["versions"][0]["definition"]
    assert definition["kind"] == "configuration"
    assert await api.services.blobs.get(definition["files"]["README.md"]) == b"# Hello"


async def test_source_may_have_a_model_and_tools_too(api: Api) -> None:
    more = {"llm_configs": [MODEL], "required_tools": ["echo-tool"]}

    made = await api.deploy("echo", **more)

    settings = made["deployment"]["revisions"][0]["settings"]
    assert settings["llm_configs"] == [MODEL]
    agent = (await api.ask("GET", f"/v1/agents/{made['agent_id']}")).json()
    assert agent["versions"][0]["definition"]["kind"] == "source"


NO_AGENTS: list[tuple[dict[str, Any], int, str]] = [
    ({}, 422, "source"),
    ({"system_prompt": "Be kind."}, 422, "source"),
    ({"llm_configs": [{}]}, 400, "llm_configs[0].model"),
    ({"llm_configs": [{"model": ""}]}, 400, "llm_configs[0].model"),
    ({"llm_configs": [MODEL | {"role": "boss"}]}, 400, "llm_configs[0].role"),
    ({"llm_configs": [MODEL | {"provider": "acme"}]}, 400, "llm_configs[0].provider"),
    (
        {"llm_configs": [MODEL | {"monthly_budget_usd": -1}]},
        400,
        "llm_configs[0].monthly_budget_usd",
    ),
    ({"llm_configs": [MODEL], "required_tools": ["No Name"]}, 422, "required_tools[0]"),
    ({"llm_configs": [MODEL], "policies": ["nowhere"]}, 422, "policies[0]"),
    (
        {"llm_configs": [MODEL], "tool_url_mappings": {"https://x.example": "nowhere"}},
        422,
        "tool_url_mappings.https://x.example",
    ),
    ({"source": {"files": {"README.md": "x"}}}, 422, "source.files"),
    ({"llm_configs": [MODEL], "source": {"files": {"main.js": "x"}}}, 422, "source.files"),
    (
        {"llm_configs": [MODEL], "source": {"files": {"a.md": "x"}, "entry_point": "agent.py"}},
        422,
        "source.entry_point",
    ),
]


@pytest.mark.parametrize(("body", "status", "field"), NO_AGENTS)
async def test_what_is_no_agent_is_refused_by_its_field(
    api: Api, body: dict[str, Any], status: int, field: str
) -> None:
    before = await api.services.store.head()

    answer = await api.ask("POST", PATH, json={"name": "helper", **body})

    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert await api.new_types(before) == []
