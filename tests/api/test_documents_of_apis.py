"""What the OpenAPI documents say is so: found by asking all that they describe (tests/fuzzing)."""

from typing import Any

from litestar.routes import HTTPRoute

from api.dialects.runagents.routes import ROUTES
from api.following import MAX_NUMBER
from domain.runs import RunClaimed, RunEnded, RunFile
from tests.api.conftest import Api

MISSING = f"sha256:{'0' * 64}"


async def document(api: Api, name: str = "openapi") -> dict[str, Any]:
    return (await api.ask("GET", f"/schema/{name}.json", key=None)).json()


async def test_options_name_all_methods_of_a_path(api: Api) -> None:
    paths = ["/v1/keys", "/v1/workspaces/default/tools/a", "/v1/whoami", "/api/policies/a"]

    allowed = [(await api.ask("OPTIONS", path)).headers.get_list("allow") for path in paths]

    assert allowed == [
        ["GET, OPTIONS, POST"],
        ["DELETE, GET, OPTIONS, PUT"],
        ["GET, OPTIONS"],
        ["DELETE, GET, OPTIONS, PUT"],
    ]


async def test_bodies_are_described_as_they_are_read(api: Api) -> None:
    schemas = (await document(api))["components"]["schemas"]

    assert schemas["NewKey"]["additionalProperties"] is False
    number, nothing = schemas["NewTool"]["properties"]["port"]["anyOf"]
    assert number == {"type": "integer", "minimum": 1, "maximum": 65535}
    assert nothing == {"type": "null"}


async def test_parameters_are_described_as_they_are_sent(api: Api) -> None:
    paths = (await document(api))["paths"]

    def schema(path: str, name: str, method: str = "get") -> dict[str, Any]:
        parameters = paths[path][method]["parameters"]
        return next(each["schema"] for each in parameters if each["name"] == name)

    at = schema("/v1/streams/{stream}", "at")
    assert at == {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER}
    assert schema("/v1/events", "Last-Event-ID") == {"type": "string", "pattern": "^[0-9]{0,20}$"}
    assert schema("/v1/keys", "cursor") == {"type": "string", "maxLength": 200}
    key = schema("/v1/keys", "Idempotency-Key", "post")
    assert key == {"type": "string", "pattern": "^[!-~]{1,255}$"}


async def test_a_body_that_can_be_left_out_is_not_required(api: Api) -> None:
    paths = (await document(api))["paths"]

    assert paths["/v1/runs/{run_id}/cancel"]["post"]["requestBody"]["required"] is False
    assert paths["/v1/keys"]["post"]["requestBody"]["required"] is True


async def test_operators_pages_need_no_key_and_all_else_does(api: Api) -> None:
    found = await document(api)

    open_paths = {
        path
        for path, item in found["paths"].items()
        if any(operation.get("security") == [] for operation in item.values())
    }
    assert open_paths == {"/healthz", "/metrics", "/readyz"}
    assert found["security"] == [{"bearer": []}, {"key": []}]


async def test_declaring_what_is_new_is_a_201(api: Api) -> None:
    paths = (await document(api))["paths"]

    declared = paths["/v1/workspaces/{workspace}/tools/{name}"]["put"]["responses"]
    assert {"200", "201", "default"} == set(declared)


async def test_a_version_beyond_all_numbers_is_named(api: Api) -> None:
    await api.deploy()
    run = await api.request_run()

    answer = await api.ask("GET", f"/v1/streams/run-{run['id']}?at={10**30}")

    assert (answer.status_code, answer.json()["field"]) == (400, "at")


async def test_a_file_whose_bytes_are_gone_is_not_found(api: Api) -> None:
    """It is known before the answer begins, and not in the middle of it."""
    await api.deploy()
    run = (await api.request_run())["id"]
    file = RunFile(path="a.txt", digest=MISSING, size=3)
    await api.append(
        f"run-{run}",
        RunClaimed(run_id=run, attempt=1, worker="w"),
        RunEnded(run_id=run, how="completed", attempt=1, files=[file]),
    )

    answer = await api.ask("GET", f"/v1/runs/{run}/files/a.txt")

    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/not-found"


async def test_the_dialect_has_a_document_of_its_own(api: Api) -> None:
    found = await document(api, "runagents")

    described = {(method.upper(), path) for path, item in found["paths"].items() for method in item}
    served = {
        (method, route.path_format)
        for route in api.app.routes
        if isinstance(route, HTTPRoute) and route.path.startswith(tuple(ROUTES))
        for method in route.methods - {"OPTIONS"}
    }
    assert described == served
    deploy = found["paths"]["/api/deploy"]["post"]
    assert deploy["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/DeployBody"
    }
    assert {"x-workspace-namespace", "Idempotency-Key"} <= {
        each["name"] for each in deploy["parameters"]
    }
    assert found["components"]["schemas"]["PolicySpec"]["required"] == ["policies"]
