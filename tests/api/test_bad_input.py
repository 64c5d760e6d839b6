"""Bad input: a problem that names the field and what is allowed, and nothing half done."""

import json
from typing import Any

from tests.api.conftest import Api

DEPLOYMENTS = "/v1/workspaces/default/deployments"
GOOD: dict[str, Any] = {"name": "a", "source": {"files": {"agent.py": "print(1)"}}}


def source(**files: str) -> dict[str, Any]:
    return {"name": "a", "source": {"files": files}}


def files(found: dict[str, Any]) -> dict[str, Any]:
    return {"name": "a", "source": {"files": found}}


BAD_DEPLOYS: list[tuple[Any, int, str, str]] = [
    (b"", 400, "body", "required"),
    (b"{", 400, "body", "not JSON"),
    (b"null", 400, "body", "object"),
    (b'{"name":"\xff"}', 400, "body", "UTF-8"),
    (b'{"name":"\\ud800"}', 400, "body", "not JSON"),
    (b"[" * 100_000, 400, "body", "object"),
    (b'{"environment":{"A":5},,', 400, "environment", "`str`"),
    (b'{"environment":{"A":5},"name":"\xff"}', 400, "environment", "`str`"),
    (b'{"environment":{"A":5},"name":' + b"[" * 100_000, 400, "environment", "`str`"),
    (b'{"environment":{"A":1e999}}', 400, "environment", "out of range"),
    ({"name": 5}, 400, "name", "`str`"),
    ({"source": {}}, 400, "source.files", "required"),
    ({"image": "x"}, 400, "name", "required"),
    ({**GOOD, "nope": 1}, 400, "nope", "name, source, image"),
    ({**GOOD, "max_attempts": "2"}, 400, "max_attempts", "`int`"),
    ({**GOOD, "max_attempts": 0}, 400, "max_attempts", ">= 1"),
    ({**GOOD, "limits": {"memory": 5}}, 400, "limits.memory", "memory_mb"),
    ({**GOOD, "limits": {"memory_mb": 1}}, 400, "limits.memory_mb", ">= 32"),
    (files({"agent.py": 5}), 400, "source.files.agent.py", "`str | object`"),
    ({**GOOD, "environment": {"A": None}}, 400, "environment.A", "`str`"),
    ({**GOOD, "environment": {"1A": "x"}}, 422, "environment.1A", "letters"),
    ({**GOOD, "environment": {"A": "x\0y"}}, 422, "environment.A", "NUL"),
    ({**GOOD, "environment": {"A": "é" * 60_000}}, 422, "environment.A", "100000 bytes"),
    (
        {**GOOD, "environment": {f"A{n}": "x" * 90_000 for n in range(20)}},
        422,
        "environment",
        "1000000 bytes",
    ),
    ({**GOOD, "system_prompt": "x" * 200_000}, 422, "system_prompt", "100000"),
    ({**GOOD, "name": "Not A Name"}, 422, "name", "lower-case"),
    ({"name": "a"}, 422, "source", "image"),
    ({**GOOD, "image": "x/y:1"}, 422, "image", "not both"),
    (files({}), 422, "source.files", "at least one"),
    (files({"/etc/passwd": ""}), 422, "source.files./etc/passwd", "absolute"),
    (files({"../x.py": ""}), 422, "source.files.../x.py", "leaves the tree"),
    (files({"a/../../x.py": ""}), 422, "source.files.a/../../x.py", "leaves"),
    (files({"é" * 200: ""}), 422, f"source.files.{'é' * 187}", "255 bytes"),
    (files({"a\u202eb.py": ""}), 422, "source.files.a\u202eb.py", "control"),
    (files({"a\\b.py": ""}), 422, "source.files.a\\b.py", "backslash"),
    (files({"a": "", "a/b.py": ""}), 422, "source.files.a/b.py", "folder"),
    (files({"x.txt": ""}), 422, "source.files", "agent.py"),
    (files({"x.py": "", "y.py": ""}), 422, "source.entry_point", "agent.py"),
    (
        {"name": "a", "source": {"files": {"x.py": ""}, "entry_point": "y.py"}},
        422,
        "source.entry_point",
        "x.py",
    ),
    (files({"agent.py": "a = 1\nb = (\n"}), 422, "source.files.agent.py", "line 2, column 5"),
]


async def test_a_deploy_names_what_is_wrong(api: Api) -> None:
    before = await api.services.store.head()
    for body, status, field, says in BAD_DEPLOYS:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()

        answer = await api.ask("POST", DEPLOYMENTS, content=content)

        assert answer.status_code == status, (content[:200], answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["field"] == field, content[:200]
        assert says in problem["detail"], content[:200]
        assert {"type", "title", "status", "detail", "request_id"} <= set(problem)
        assert answer.headers["x-request-id"] == problem["request_id"]
    assert await api.services.store.head() == before


async def test_a_syntax_error_says_where_for_programs(api: Api) -> None:
    body = files({"agent.py": "print(1)", "src/tools.py": "x = 1\ndef f(:\n"})

    problem = (await api.ask("POST", DEPLOYMENTS, json=body)).json()

    assert (problem["file"], problem["line"], problem["column"]) == ("src/tools.py", 2, 7)


async def test_syntax_newer_than_the_base_is_refused(api: Api) -> None:
    body = files({"agent.py": "type X = int\n"})

    answer = await api.ask("POST", DEPLOYMENTS, json=body)

    assert answer.status_code == 422
    assert answer.json()["file"] == "agent.py"


async def test_ten_megabytes_are_too_large(api: Api) -> None:
    before = await api.services.store.head()
    body = json.dumps(files({"agent.py": "#" * 10_000_000})).encode()

    async def in_chunks() -> Any:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    announced = await api.ask("POST", DEPLOYMENTS, content=body)
    chunked = await api.ask("POST", DEPLOYMENTS, content=in_chunks())

    for answer in (announced, chunked):
        assert answer.status_code == 413
        assert answer.json()["type"] == "/problems/too-large"
        assert answer.json()["limit"] == 10_000_000
    file = await api.ask("POST", DEPLOYMENTS, json=files({"agent.py": "#" * 6_000_000}))
    assert file.status_code == 422
    assert file.json()["field"] == "source.files.agent.py"
    assert await api.services.store.head() == before


BAD_PARAMETERS = [
    ("/v1/workspaces?limit=0", 400, "limit"),
    ("/v1/workspaces?limit=201", 400, "limit"),
    ("/v1/workspaces?limit=x", 400, "limit"),
    ("/v1/workspaces?cursor=x", 422, "cursor"),
    ("/v1/workspaces/default/runs?status=done", 422, "status"),
    ("/v1/events?type=run.never", 422, "type"),
    ("/v1/events?after=-1", 400, "after"),
    (f"/v1/events?after={2**63}", 400, "after"),
    (f"/v1/runs/x/events?after={10**30}", 400, "after"),
]


async def test_a_parameter_is_named(api: Api) -> None:
    for path, status, field in BAD_PARAMETERS:
        answer = await api.ask("GET", path)

        assert answer.status_code == status, (path, answer.text)
        assert answer.json()["field"] == field, path


STRANGE_NAMES = [
    "/v1/runs/nothing",
    "/v1/runs/%00",
    "/v1/workspaces/%00",
    "/v1/workspaces/%F0%9F%98%80",
    "/v1/workspaces/default/agents/%00",
    "/v1/workspaces/default/agents/..%2F..",
    "/v1/workspaces/default/deployments/b%C3%BCcher",
    "/v1/streams/run-%00",
    "/v1/streams/nothing",
    "/v1/streams/log_head",
    "/nowhere",
    "/v1",
    "/",
]


async def test_strange_names_are_not_found(api: Api) -> None:
    for path in STRANGE_NAMES:
        answer = await api.ask("GET", path)

        assert answer.status_code == 404, (path, answer.text)
        assert answer.json()["type"] == "/problems/not-found", path


async def test_last_event_id_is_a_number(api: Api) -> None:
    await api.deploy()
    run = await api.request_run()

    path = f"/v1/runs/{run['id']}/events"

    answer = await api.ask("GET", path, headers={"Last-Event-ID": "-1"})
    beyond = await api.ask("GET", path, headers={"Last-Event-ID": "9" * 20})

    assert answer.status_code == 400
    assert (beyond.status_code, beyond.json()["items"]) == (200, [])


async def test_a_method_that_a_path_does_not_know(api: Api) -> None:
    answer = await api.ask("PATCH", "/v1/workspaces")

    assert answer.status_code == 405
    assert answer.json()["type"] == "/problems/method-not-allowed"
    assert "GET" in answer.headers["allow"]


async def test_request_ids_are_kept_if_they_can_be(api: Api) -> None:
    kept = await api.ask("GET", "/healthz", headers={"X-Request-Id": "abc-123"})
    made = await api.ask("GET", "/healthz", headers={"X-Request-Id": "a b\tc"})

    assert kept.headers["x-request-id"] == "abc-123"
    assert len(made.headers["x-request-id"]) == 36


async def test_a_number_that_no_machine_holds_is_named(api: Api) -> None:
    await api.deploy()

    answer = await api.ask(
        "POST", f"{DEPLOYMENTS}/echo/runs", content=b'{"message":"x","context":{"a":[1e999]}}'
    )

    assert answer.status_code == 400
    assert answer.json()["field"] == "context"
