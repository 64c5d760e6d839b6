"""What the stack is put through: everything for which a worker may need a privilege."""

import time
from typing import Any

import httpx

from tests.chaos.programs import built_source
from tests.containers.stack import Stack
from tests.machines.network import Machine, on

URL = "http://127.0.0.1:8700"
WAIT_SECONDS = 20.0
ENDED = frozenset({"completed", "failed", "cancelled"})

FILES = """
from pathlib import Path
def handler(request):
    Path("result.txt").write_text(request["message"])
    return request["message"][::-1]
"""
SLEEP = "import time\ntime.sleep(600)\n"
HUNGRY = "data = []\nwhile True:\n    data.append(bytearray(1 << 20))\n"


def walk(stack: Stack, machine: Machine) -> list[str]:
    """Bootstrap, deploy, build, run, cancel; returns what did not come out as it should."""
    said = stack.once("api", "python", "-m", "api", "bootstrap")
    key = next(word for word in said.split() if word.startswith("argosy_"))
    with (
        on(machine),
        httpx.Client(base_url=URL, headers={"Authorization": f"Bearer {key}"}, timeout=30) as http,
    ):
        return [*_instant(http), *_built(http), *_ended_by_force(http), *_doctored(stack)]


def _instant(http: httpx.Client) -> list[str]:
    _deploy(http, "files", {"files": {"agent.py": FILES}})
    ended = _run(http, "files", "hello")
    if (ended["status"], ended["output"]) != ("completed", "olleh"):
        return [f"a run: {ended['status']} {ended['reason']} {ended['detail']}"]
    kept = [each["path"] for each in ended["files"]]
    return [] if kept == ["result.txt"] else [f"a run's files: {kept} {ended}"]


def _built(http: httpx.Client) -> list[str]:
    files, requirements = built_source(1)
    _deploy(http, "built", {"files": files, "requirements": requirements})
    ended = _run(http, "built", "hello")
    return [] if ended["status"] == "completed" else [f"a build: {ended['detail']} {ended}"]


def _ended_by_force(http: httpx.Client) -> list[str]:
    wrong: list[str] = []
    _deploy(http, "sleep", {"files": {"agent.py": SLEEP}})
    _deploy(http, "hungry", {"files": {"agent.py": HUNGRY}})
    run = http.post("/v1/workspaces/default/deployments/sleep/runs", json={"message": "x"}).json()
    _wait(http, run["id"], frozenset({"running"}))
    http.post(f"/v1/runs/{run['id']}/cancel", json={})
    ended = _wait(http, run["id"], ENDED)
    if ended["status"] != "cancelled":
        wrong.append(f"a cancelled run: {ended['status']} {ended['detail']}")
    ended = _run(http, "hungry", "x")
    if ended["reason"] != "out_of_memory":
        wrong.append(f"a run without memory: {ended['reason']} {ended['detail']}")
    return wrong


def _doctored(stack: Stack) -> list[str]:
    lines = stack.inside("host", "argosy", "doctor").stdout.splitlines()
    return [line for line in lines if line.startswith("failure")]


def _deploy(http: httpx.Client, name: str, source: dict[str, Any]) -> None:
    limits = {"memory_mb": 128, "disk_mb": 16, "seconds": 120, "pids": 32}
    body = {"name": name, "source": source, "limits": limits}
    answer = http.post("/v1/workspaces/default/deployments", json=body)
    assert answer.status_code == 201, answer.text


def _run(http: httpx.Client, name: str, message: str) -> dict[str, Any]:
    path = f"/v1/workspaces/default/deployments/{name}/runs"
    answer = http.post(path, json={"message": message})
    assert answer.status_code == 202, answer.text
    return _wait(http, answer.json()["id"], ENDED)


def _wait(http: httpx.Client, run_id: str, statuses: frozenset[str]) -> dict[str, Any]:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        run = http.get(f"/v1/runs/{run_id}").json()
        if run["status"] in statuses:
            return run
        late = run["status"] in ENDED or time.monotonic() > deadline
        assert not late, f"{run['status']}, not {sorted(statuses)}: {run['detail']}"
        time.sleep(0.2)
