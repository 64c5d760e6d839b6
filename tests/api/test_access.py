"""Who may do what, on every route there is."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from api.auth import PERMISSIONS
from api.bootstrap import bootstrap
from domain.catalog import Role
from domain.ids import new_id
from tests.api.conftest import Api

PUBLIC = {"/healthz", "/readyz"}
DIALECT = ("/api", "/runs")
# What a caller without the permission gets on each route, and with it, on things that do not exist.
REFUSED = 403
REGISTRY = "/v2"


def routes(api: Api) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Yield every route that is served: method, path with made-up parts, handler."""
    for route in api.app.routes:
        if not isinstance(route, HTTPRoute) or route.path.startswith("/schema"):
            continue
        for handler in route.route_handlers:
            for method in handler.http_methods - {"OPTIONS"}:
                yield method, filled(route.path), handler


def filled(path: str) -> str:
    """Return a route's path with something that does not exist in each place."""
    path = path.replace("{workspace:str}", "default").replace("{namespace:str}", "default")
    path = path.replace("{stream:str}", f"run-{new_id()}")
    path = re.sub(r"\{\w+_id:str\}", new_id(), path)
    return re.sub(r"\{\w+:\w+\}", "nothing", path)


async def test_every_route_needs_a_key_and_names_a_permission(api: Api) -> None:
    seen = 0
    for method, path, handler in routes(api):
        if path in PUBLIC:
            continue
        seen += 1
        assert handler.opt.get("needs") in {"read", "write", "audit", "manage"}, path
        for key in (None, "argosy_wrong"):
            answer = await api.ask(method, path, key=key)
            assert answer.status_code == 401, (method, path)
            if path.startswith(REGISTRY):  # HEAD has no body
                assert answer.headers["WWW-Authenticate"].startswith("Basic ")
            elif path.startswith(DIALECT):
                assert set(answer.json()) == {"error"}
            else:
                assert answer.json()["type"] == "/problems/unauthenticated"
    assert seen > 25


@pytest.mark.parametrize("role", list(PERMISSIONS))
async def test_a_role_is_let_through_where_it_may(api: Api, role: Role) -> None:
    key = await api.make_key(role)
    for method, path, handler in routes(api):
        if path in PUBLIC:
            continue
        answer = await api.ask(method, path, key=key)

        allowed = handler.opt["needs"] in PERMISSIONS[role]
        assert (answer.status_code != REFUSED) == allowed, (method, path, answer.text)
        if not allowed and not path.startswith(DIALECT):
            assert answer.json()["role"] == role


async def test_another_workspaces_key_sees_nothing(api: Api) -> None:
    """What is not the caller's does not exist: 404 everywhere, whatever is asked."""
    await api.ask("POST", "/v1/workspaces", json={"slug": "staging"})
    key = await api.make_key("admin", "staging")
    needs_build = {"files": {"agent.py": "print(1)"}, "requirements": "six"}
    deployed = await api.deploy(source=needs_build)
    run = await api.request_run()
    await api.ask("POST", f"/v1/runs/{run['id']}/cancel")
    ids = {
        "agent_id": deployed["agent_id"],
        "deployment_id": deployed["deployment"]["id"],
        "build_id": deployed["build_id"],
        "run_id": run["id"],
        "key_id": (await api.ask("GET", "/v1/whoami")).json()["key_id"],
        "workspace": "default",
        "namespace": "default",
        "slug": "echo",
        "name": "echo",
        "stream": f"run-{run['id']}",
        "file_path": "x",
        "agent": "echo",
        "reference": "v1",
        "digest": "sha256:" + "0" * 64,
        "artifact_id": run["id"],
        "draft_id": (await api.ask("POST", "/api/deploy-drafts")).json()["id"],
    }
    bodies: dict[str, dict[str, Any]] = {
        "/v1/workspaces/{workspace:str}/deployments": {
            "name": "echo",
            "source": {"files": {"agent.py": "print(2)"}},
        },
        "/v1/workspaces/{workspace:str}/deploy/preview": {
            "name": "echo",
            "source": {"files": {"agent.py": "print(2)"}},
        },
        "/v1/workspaces/{workspace:str}/deployments/{slug:str}/runs": {"message": "x"},
        "/api/agents/{namespace:str}/{name:str}/invoke": {"message": "x"},
        "/v1/workspaces/{workspace:str}/tools/{name:str}": {"base_url": "https://a.example"},
        "/v1/workspaces/{workspace:str}/policies/{name:str}": {"rules": []},
        "/v1/workspaces/{workspace:str}/model-providers/{name:str}": {
            "vendor": "openai",
            "models": ["a"],
        },
        "/v1/workspaces/{workspace:str}/registries/{name:str}": {
            "host": "ghcr.io",
            "username": "a",
        },
        "/api/policies/{name:str}": {"spec": {"policies": []}},
    }
    before = await api.services.store.head()
    seen = 0
    for route in api.app.routes:
        if not isinstance(route, HTTPRoute) or "{" not in route.path or "schema" in route.path:
            continue
        path = re.sub(r"\{(\w+):\w+\}", lambda found: ids[found.group(1)], route.path)
        for handler in route.route_handlers:
            for method in handler.http_methods - {"OPTIONS"}:
                body = bodies.get(route.path) if method in {"POST", "PUT"} else None
                answer = await api.ask(method, path, key=key, json=body)
                assert answer.status_code == 404, (method, path, answer.text)
                seen += 1
    assert seen > 20
    assert await api.services.store.head() == before
    for path in ("/v1/workspaces", "/v1/keys"):
        listed = (await api.ask("GET", path, key=key)).json()["items"]
        assert all(each.get("workspace", each.get("slug")) == "staging" for each in listed)
    log = (await api.ask("GET", "/v1/events?limit=1000", key=key)).json()["items"]
    staging = await api.workspace_id("staging")
    assert {each["workspace_id"] for each in log} == {staging}
    header = {"X-Workspace-Namespace": "default"}
    assert (await api.ask("GET", "/api/agents", key=key, headers=header)).status_code == 400
    assert (await api.ask("GET", "/api/agents", key=key)).json() == []


async def test_another_organization_sees_nothing(api: Api) -> None:
    """A second organization in one installation: its admin has the same words for other things."""
    store = api.services.store
    run = (await api.deploy(), await api.request_run())[1]
    # The name under which the first one is found is freed, as if this were another installation.
    other = await _second_organization(api)

    assert (await api.ask("GET", "/v1/whoami", key=other)).status_code == 200
    for path in (
        f"/v1/runs/{run['id']}",
        f"/v1/workspaces/{run['workspace_id']}",
        f"/v1/agents/{run['agent_id']}",
        f"/v1/streams/run-{run['id']}",
    ):
        assert (await api.ask("GET", path, key=other)).status_code == 404, path
    listed = (await api.ask("GET", "/v1/workspaces", key=other)).json()["items"]
    assert [each["id"] for each in listed] != [run["workspace_id"]]
    log = (await api.ask("GET", "/v1/events?limit=1000", key=other)).json()["items"]
    assert log
    assert all(each["workspace_id"] != run["workspace_id"] for each in log)
    assert len(log) < await store.head()


async def _second_organization(api: Api) -> str:
    from api.bootstrap import FIRST_ORGANIZATION, ORGANIZATION_NAMES
    from domain.ports import Meta, Reservation

    free = Reservation(scope="", kind=ORGANIZATION_NAMES, name=FIRST_ORGANIZATION, id="")
    meta = Meta(actor="system", workspace_id="", command_id=new_id())
    await api.services.store.append([], meta, reservations=[free])
    made = await bootstrap(api.services, api_key=None)
    assert made.organization_id != api.first.organization_id
    return made.key
