"""Canaries in every place that holds a secret, and a search of everything that anybody can see."""

import base64
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.servers import KEY, DevServer, dev_server
from tests.e2e.upstreams import Seen, Upstream, upstream

HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
MODEL = "canary-model"

# Calls everything there is to call, then tells all it can find out.
SPY = """
import json, os, urllib.error, urllib.request

def call(url, body):
    call = urllib.request.Request(url, data=json.dumps(body).encode(),
                                  headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(call, timeout=20) as answer:
            return [answer.status, dict(answer.headers), answer.read().decode()]
    except urllib.error.HTTPError as error:
        return [error.code, dict(error.headers), error.read().decode()]

def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode("latin-1")
    except OSError as error:
        return str(error)

def handler(request):
    told = {name: call(url + "/look", {}) for name, url in os.environ.items()
            if name.startswith("TOOL_URL_") and url.startswith("http")}
    for model in ("canary-model", "no-such-model"):
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        told[model] = call(os.environ["LLM_GATEWAY_URL"], body)
    told["environ"] = dict(os.environ)
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    for pid in pids:
        for file in ("environ", "cmdline", "maps"):
            told[f"{pid}/{file}"] = read(f"/proc/{pid}/{file}")
    for folder in ("/run", "/tmp", "/etc", "/opt/argosy", "."):
        for root, _, files in os.walk(folder):
            for file in files:
                told[os.path.join(root, file)] = read(os.path.join(root, file))
    with open("told.json", "w") as file:
        json.dump(told, file)
    return json.dumps({name: told[name] for name in told if name != "maps"})[:100_000]
"""


class Planted:
    """What must not be seen anywhere, by what it is."""

    def __init__(self) -> None:
        self.provider_key = f"sk-canary{secrets.token_hex(16)}"
        self.tool_key = f"tool-canary{secrets.token_hex(16)}"
        self.query_key = f"query-canary{secrets.token_hex(16)}"
        self.client_secret = f"client-canary{secrets.token_hex(16)}"
        self.access_token = f"token-canary{secrets.token_hex(16)}"

    def found_in(self, data: bytes | str) -> list[str]:
        """Return which of them are in some data."""
        whole = data if isinstance(data, bytes) else data.encode()
        return [name for name, value in vars(self).items() if value.encode() in whole]


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted()


@pytest.fixture(scope="module")
def outside(planted: Planted) -> Iterator[Upstream]:
    with upstream(planted.access_token) as service:
        yield service


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    data = Path(tmp_path_factory.mktemp("canary")) / "data"
    allowed = {"ARGOSY_OUTBOUND_ALLOW": "127.0.0.1", "ARGOSY_LOG_LEVEL": "debug"}
    with dev_server(data, environment=allowed) as running:
        yield running


def ask(server: DevServer, method: str, path: str, **more: Any) -> httpx.Response:
    return httpx.request(method, f"{server.url}{path}", headers=HEADERS, timeout=30, **more)


@pytest.fixture(scope="module")
def answers(server: DevServer, outside: Upstream, planted: Planted) -> list[httpx.Response]:
    """Everything is planted, deployed and run; all answers of the API on the way."""
    keyed = {"in": "Header", "name": "X-Key", "valuePrefix": "Key "}
    queried = {"in": "Query", "name": "key", "valuePrefix": ""}
    client = {"tokenUrl": f"{outside.url}/token", "scopes": ["read"]}
    kinds: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
        "keyed": ({"type": "APIKey", "apiKeyConfig": keyed}, {"api_key": planted.tool_key}),
        "queried": ({"type": "APIKey", "apiKeyConfig": queried}, {"api_key": planted.query_key}),
        "granted": (
            {"type": "OAuth2", "oauth2Config": client},
            {"client_id": "argosy", "client_secret": planted.client_secret},
        ),
    }
    answered: list[httpx.Response] = []

    def send(path: str, body: dict[str, Any]) -> None:
        answered.append(ask(server, "POST", path, json=body))
        assert answered[-1].status_code == 201, answered[-1].text

    for name, (authentication, credentials) in kinds.items():
        connection = {"baseUrl": f"{outside.url}/{name}", "authentication": authentication}
        spec = {"description": name, "connection": connection}
        send("/api/tools", {"name": name, "spec": spec, "credentials": credentials})
    provider = {"provider": "openai", "endpoint": f"{outside.url}/v1", "models": [MODEL]}
    key = {"api_key": planted.provider_key}
    send("/api/model-providers", {"name": "outside", "spec": provider, "credentials": key})
    rules = [{"permission": "allow", "resource": f"{outside.url}/*"}]
    send("/api/policies", {"name": "all", "spec": {"policies": rules}})
    send(
        "/api/deploy",
        {
            "agent_name": "spy",
            "source_files": {"agent.py": SPY},
            "required_tools": list(kinds),
            "policies": ["all"],
            "llm_configs": [{"provider": "openai", "model": MODEL, "role": "chat"}],
        },
    )
    run = server.argosy("invoke", "spy", "-m", "look around", "--json").json
    assert run["status"] == "completed", run
    for path in (
        f"/v1/runs/{run['id']}",
        f"/v1/runs/{run['id']}/events",
        f"/v1/runs/{run['id']}/files/told.json",
        f"/runs/{run['id']}/events",
        "/api/tools",
        "/api/model-providers",
        "/api/policies",
        "/api/agents",
        "/v1/workspaces/default/tools",
        "/v1/workspaces/default/model-providers",
        "/v1/workspaces/default/deployments/spy",
        "/v1/events",
        "/schema/openapi.json",
    ):
        answered.append(ask(server, "GET", path))
        assert answered[-1].status_code == 200, (path, answered[-1].text)
    return answered


def test_every_credential_reached_the_service_it_is_for(
    answers: list[httpx.Response], outside: Upstream, planted: Planted
) -> None:
    """Else there would be nothing to be found."""
    assert answers
    (model,) = outside.requests("/v1/chat/completions")
    assert model.headers["authorization"] == f"Bearer {planted.provider_key}"
    (keyed,) = outside.requests("/keyed/look")
    assert keyed.headers["x-key"] == f"Key {planted.tool_key}"
    (queried,) = outside.requests("/queried/look")
    assert queried.path.endswith(f"key={planted.query_key}")
    (token,) = outside.requests("/token")
    assert planted.client_secret in _client_authentication(token)
    (granted,) = outside.requests("/granted/look")
    assert granted.headers["authorization"] == f"Bearer {planted.access_token}"


def _client_authentication(token: Seen) -> str:
    """Return what a client authenticates itself with: a header, or fields of the form."""
    _, _, encoded = token.headers.get("authorization", "").partition("Basic ")
    return base64.b64decode(encoded).decode() + token.body.decode()


def test_no_answer_of_the_api_holds_a_secret(
    answers: list[httpx.Response], planted: Planted
) -> None:
    """What the agent found out is among them: its output, its files, its events."""
    told = {
        str(answer.request.url): found
        for answer in answers
        if (found := planted.found_in(answer.content + str(answer.headers).encode()))
    }

    assert told == {}


def test_no_file_of_the_server_holds_a_secret(
    answers: list[httpx.Response], server: DevServer, planted: Planted
) -> None:
    """Databases, blobs, queues and logs; the vault has them encrypted."""
    assert answers
    files = [path for path in server.data.rglob("*") if path.is_file()]
    told = {
        str(path.relative_to(server.data)): found
        for path in [*files, server.log]
        if (found := planted.found_in(path.read_bytes()))
    }

    assert len(files) > 5
    assert told == {}


def test_no_process_shows_a_secret_or_the_master_key(
    answers: list[httpx.Response], server: DevServer, planted: Planted
) -> None:
    assert answers
    key = next(path for path in server.data.iterdir() if "master" in path.name).read_bytes().strip()
    parent = psutil.Process(server.process.pid)
    told: list[tuple[int, str]] = []
    for process in [parent, *parent.children(recursive=True)]:
        for file in ("cmdline", "environ"):
            try:
                data = Path(f"/proc/{process.pid}/{file}").read_bytes()
            except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                continue
            if planted.found_in(data) or key in data:
                told.append((process.pid, file))

    assert os.getpid() not in [pid for pid, _ in told]
    assert told == []
