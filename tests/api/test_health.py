"""Whether the process lives and can serve, and the document that describes it."""

import httpx
from msgspec.structs import replace

from adapters.event_store.store import open_store
from api.app import create_app
from projections.reads import ReadModels
from tests.api.conftest import BASE, KEY, Api


async def test_a_process_with_all_its_parts_is_ready(api: Api) -> None:
    await api.ask("GET", "/v1/workspaces")  # waits for the first build of the read models
    for name in ("keys", "workspaces/default/agents", "workspaces/default/runs"):
        await api.ask("GET", f"/v1/{name}")

    health = await api.ask("GET", "/healthz", key=None)
    ready = await api.ask("GET", "/readyz", key=None)

    assert health.json() == {"status": "ok"}
    assert ready.status_code == 200
    assert ready.json() == {
        "status": "ok",
        "checks": {"database": "ok", "redis": "ok", "projections": "ok"},
    }


async def test_without_its_database_it_is_not_ready(api: Api, reads: ReadModels) -> None:
    closed = await open_store(api.services.settings.log_url)
    await closed.close()
    app = create_app(replace(api.services, store=closed), reads, base=BASE)
    transport = httpx.ASGITransport(app=app)  # pyright: ignore[reportArgumentType]  # ASGI's types

    async with httpx.AsyncClient(transport=transport, base_url="http://argosy") as client:
        ready = await client.get("/readyz")
        refused = await client.get("/v1/whoami", headers={"X-API-Key": KEY})

    assert ready.status_code == 503
    assert ready.json()["checks"]["database"] == "down"
    assert refused.status_code == 503
    assert refused.json()["type"] == "/problems/unavailable"
    assert refused.headers["retry-after"] == "1"


async def test_the_document_names_every_operation_once(api: Api) -> None:
    document = (await api.ask("GET", "/schema/openapi.json", key=None)).json()

    operations = [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in {"get", "post", "delete"}
    ]
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(ids) == len(set(ids)) > 25
    assert {"CancelRun", "Deploy", "RequestRun", "FollowRun", "ReadLog"} <= set(ids)
    for path, method, operation in operations:
        assert operation["responses"]["default"], path
        assert operation.get("description"), path
        bodiless = path.endswith(("/cancel", "/starter-kit"))
        assert method != "post" or bodiless or "requestBody" in operation, path
    schemas = document["components"]["schemas"]
    assert schemas["Problem"]["required"]
    assert schemas["RunRequest"]["required"] == ["message"]
    assert not any(path.startswith(("/api", "/runs")) for path in document["paths"])


async def test_the_document_says_what_can_be_sent_and_comes_back_beside_the_body(api: Api) -> None:
    document = (await api.ask("GET", "/schema/openapi.json", key=None)).json()
    schemas = document["components"]["schemas"]

    followed: dict[str, str] = {}
    for item in document["paths"].values():
        for method, operation in item.items():
            headers = {each["name"] for each in operation.get("parameters", [])}
            assert ("Idempotency-Key" in headers) == (method == "post"), operation["operationId"]
            for answer in operation["responses"].values():
                assert "X-Request-Id" in answer["headers"]
            if "Last-Event-ID" in headers:
                content = operation["responses"]["200"]["content"]
                assert "text/event-stream" in content
                reference = content["application/json"]["schema"]["$ref"]
                followed[operation["operationId"]] = reference.rsplit("/", 1)[-1]

    assert followed == {"FollowRun": "LivePage", "FollowBuild": "LivePage", "ReadLog": "LogPage"}
    assert set(followed.values()) <= set(schemas)
