"""The day after: a server's disk is gone, and another starts from a backup."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.servers import KEY, ROOT, DevServer, Finished, dev_server
from tests.e2e.test_vault import put, reveal

SECONDS = 40
HEADERS = {"Authorization": f"Bearer {KEY}"}
AGENTS = {
    "echo": "print('hello')\n",
    "seen": "import time\nprint('up', flush=True)\ntime.sleep(60)\n",
    "silent": "import time\ntime.sleep(60)\n",
}


def operate(database: str, *arguments: str, expect: int = 0, data: Path | None = None) -> Finished:
    """Run one operator's command to its end. `data`: where blobs are, if it needs them."""
    done = subprocess.run(
        [sys.executable, "-m", "api", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "ARGOSY_DATABASE": database}
        | ({"ARGOSY_DATA": str(data)} if data else {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    return Finished(done.returncode, done.stdout, done.stderr)


def ask(dev: DevServer, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the native API; returns what it answers."""
    method = "GET" if body is None else "POST"
    answer = httpx.request(method, f"{dev.url}/v1{path}", json=body, headers=HEADERS, timeout=30)
    assert answer.is_success, answer.text
    return answer.json()


def run(dev: DevServer, name: str) -> str:
    return ask(dev, f"/workspaces/default/deployments/{name}/runs", {"message": "x"})["id"]


def events_of(dev: DevServer, run_id: str, type_: str) -> list[dict[str, Any]]:
    found = ask(dev, f"/streams/run-{run_id}/events?limit=200")["items"]
    return [each["data"] for each in found if each["type"] == type_]


def wait_for(dev: DevServer, run_id: str, type_: str, *, count: int = 1) -> dict[str, Any]:
    deadline = time.monotonic() + SECONDS
    while len(found := events_of(dev, run_id, type_)) < count:
        assert time.monotonic() < deadline, f"no {type_}"
        time.sleep(0.05)
    return found[-1]


def lists(dev: DevServer, run_id: str) -> dict[str, Any]:
    """Return what does not change by itself, of runs one that has ended."""
    runs = ask(dev, "/workspaces/default/runs")["items"]
    found = {
        "runs": [each for each in runs if each["id"] == run_id],
        "agents": ask(dev, "/workspaces/default/agents")["items"],
        "deployments": ask(dev, "/workspaces/default/deployments")["items"],
        "keys": ask(dev, "/keys")["items"],
    }
    return json.loads(json.dumps(found).replace(dev.url, "http://argosy"))


def test_a_server_starts_from_a_backup_where_another_was_lost(tmp_path: Path) -> None:
    first, second, backup = tmp_path / "first", tmp_path / "second", tmp_path / "backup"
    database, restored = f"sqlite:///{first / 'log.db'}", f"sqlite:///{second / 'log.db'}"
    with dev_server(first) as dev:
        for name, text in AGENTS.items():
            source = {"files": {"agent.py": text}}
            ask(dev, "/workspaces/default/deployments", {"name": name, "source": source})
        done = run(dev, "echo")
        assert wait_for(dev, done, "run.ended")["output"] == "hello"
        under_way = {name: run(dev, name) for name in ("seen", "silent")}
        wait_for(dev, under_way["seen"], "run.message_said")
        wait_for(dev, under_way["silent"], "run.started")
        master_key = bytes.fromhex((first / "master.key").read_text().strip())
        reference = put(database, master_key)
        before = lists(dev, done)

        taken = operate(database, "backup", str(backup), "--json").json

        shutil.copytree(first / "blobs", tmp_path / "blobs")
        shutil.copy(first / "master.key", tmp_path / "kept.key")
    shutil.rmtree(first)
    assert operate(restored, "verify-backup", str(backup), "--json").json == taken
    assert operate(restored, "restore", str(backup), "--json").json == taken
    assert "not empty" in operate(restored, "restore", str(backup), expect=1).err
    shutil.copytree(tmp_path / "blobs", second / "blobs")
    shutil.copy(tmp_path / "kept.key", second / "master.key")

    with dev_server(second) as dev:
        seen = wait_for(dev, under_way["seen"], "run.ended")
        wait_for(dev, under_way["silent"], "run.started", count=2)
        ask(dev, f"/runs/{under_way['silent']}/cancel", {})
        silent = wait_for(dev, under_way["silent"], "run.ended")
        assert (seen["how"], seen["reason"]) == ("failed", "worker_lost")
        assert (silent["how"], silent["attempt"]) == ("cancelled", 2)
        assert lists(dev, done) == before
        assert reveal(restored, master_key, reference) == "sk-canary-77c0"
        assert wait_for(dev, run(dev, "echo"), "run.ended")["output"] == "hello"
        log = ask(dev, "/events?limit=1000")
        positions = [each["position"] for each in log["items"]]
        assert positions == list(range(1, len(positions) + 1))
        assert len(positions) > taken["position"]
