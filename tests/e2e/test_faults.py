"""What is promised when something dies: one test each. The large suite is the chaos suite."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.servers import KEY, DevServer, dev_server

LEASE_SECONDS = 3.0
TAKEOVER_SECONDS = LEASE_SECONDS + 2.0
REDIS_LOST_SECONDS = 8.0
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A dev server of this module's own, whose leases are short."""
    data = Path(tmp_path_factory.mktemp("faults")) / "data"
    with dev_server(data, environment={"ARGOSY_LEASE_SECONDS": str(LEASE_SECONDS)}) as server:
        yield server


def deploy(dev: DevServer, name: str, source: str) -> None:
    answer = httpx.post(
        f"{dev.url}/v1/workspaces/default/deployments",
        json={"name": name, "source": {"files": {"agent.py": source}}},
        headers=HEADERS,
        timeout=30,
    )
    assert answer.status_code == 201, answer.text


def request(dev: DevServer, name: str) -> str:
    path = f"{dev.url}/v1/workspaces/default/deployments/{name}/runs"
    answer = httpx.post(path, json={"message": "x"}, headers=HEADERS, timeout=30)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def history(dev: DevServer, run_id: str) -> list[dict[str, Any]]:
    path = f"{dev.url}/v1/streams/run-{run_id}/events"
    answer = httpx.get(path, params={"limit": 200}, headers=HEADERS, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def wait_for(dev: DevServer, run_id: str, type_: str, count: int = 1) -> list[dict[str, Any]]:
    """Follow the log's history of one run until it has `count` events of a type."""
    deadline = time.monotonic() + 40
    found: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        found = [event for event in history(dev, run_id) if event["type"] == type_]
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {count} {type_} in {history(dev, run_id)}")


def child(dev: DevServer, *words: str) -> psutil.Process:
    """Return the dev server's child whose command line has these words."""
    for process in psutil.Process(dev.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if all(word in line for word in words):
                return process
    raise AssertionError(f"no child with {words}")


def at(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["at"])


def test_a_silent_run_whose_worker_is_killed_is_run_again(dev: DevServer) -> None:
    deploy(dev, "silent", "import time\ntime.sleep(1.5)\nprint('late')\n")
    run_id = request(dev, "silent")
    wait_for(dev, run_id, "run.started")

    killed = datetime.now(UTC)
    os.kill(child(dev, "workers", "host").pid, signal.SIGKILL)
    ended = wait_for(dev, run_id, "run.ended")[0]

    # The only worker of this machine has to be started again before it can be claimed.
    (retried,) = wait_for(dev, run_id, "run.retried")
    assert (at(retried) - killed).total_seconds() < TAKEOVER_SECONDS
    assert len(wait_for(dev, run_id, "run.claimed", count=2)) == 2
    assert ended["data"]["how"] == "completed"
    assert ended["data"]["output"] == "late"


def test_a_run_that_was_heard_of_ends_when_its_worker_is_killed(dev: DevServer) -> None:
    deploy(dev, "heard", "import time\nprint('early', flush=True)\ntime.sleep(600)\n")
    run_id = request(dev, "heard")
    wait_for(dev, run_id, "run.message_said")

    killed = datetime.now(UTC)
    os.kill(child(dev, "workers", "host").pid, signal.SIGKILL)
    ended = wait_for(dev, run_id, "run.ended")

    assert (at(ended[0]) - killed).total_seconds() < TAKEOVER_SECONDS
    assert ended[0]["data"]["reason"] == "worker_lost"
    assert len(ended) == 1


def test_a_run_requested_while_redis_lost_everything_starts(dev: DevServer) -> None:
    deploy(dev, "flushed", "print('still here')\n")

    redis = next(
        process
        for process in psutil.Process(dev.process.pid).children(recursive=True)
        if process.name() in {"redis-server", "valkey-server"}
    )
    os.kill(redis.pid, signal.SIGKILL)
    run_id = request(dev, "flushed")
    started = wait_for(dev, run_id, "run.started")[0]
    requested = wait_for(dev, run_id, "run.requested")[0]

    assert (at(started) - at(requested)).total_seconds() < REDIS_LOST_SECONDS
    assert wait_for(dev, run_id, "run.ended")[0]["data"]["output"] == "still here"


def test_a_client_that_reconnects_misses_nothing(dev: DevServer) -> None:
    source = (
        "import time\n"
        "for number in range(60):\n"
        "    print(f'line {number}', flush=True)\n"
        "    time.sleep(0.02)\n"
    )
    deploy(dev, "lines", source)
    run_id = request(dev, "lines")
    seen: list[int] = []
    types: list[str] = []
    while "complete" not in types:
        seen_now, types_now = _follow(dev, run_id, after=seen[-1] if seen else 0, most=7)
        seen += seen_now
        types += types_now

    assert seen == list(range(1, len(history(dev, run_id)) + 1))
    assert types.count("complete") == 1
    assert types.count("message") > 0


def _follow(dev: DevServer, run_id: str, *, after: int, most: int) -> tuple[list[int], list[str]]:
    """Read at most `most` frames of a stream, then hang up in the middle of it."""
    headers = HEADERS | {"Accept": "text/event-stream"}
    if after:
        headers["Last-Event-ID"] = str(after)
    versions: list[int] = []
    types: list[str] = []
    path = f"{dev.url}/v1/runs/{run_id}/events"
    with httpx.stream("GET", path, headers=headers, timeout=30) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("id:"):
                versions.append(int(line.removeprefix("id:")))
            if line.startswith("event:"):
                types.append(line.removeprefix("event:").strip())
            if not line and len(versions) >= most:
                break
    return versions, types[: len(versions)]
