"""An installation on several machines: who runs where, and how clients reach it."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from adapters.event_store.asyncpg_types import connect
from tests.e2e.servers import KEY, ROOT
from tests.machines.network import NETWORK, Machine, Network, end
from tests.postgres import find_postgres, run_as_somebody_else
from tests.redis_server import find_binary
from workers.dev.processes import LEASH

LEASE_SECONDS = 4.0
START_SECONDS = 60.0
AGAIN_SECONDS = 15.0
SILENCE_SECONDS = 3.0  # before a follower comes back
HEADERS = {"Authorization": f"Bearer {KEY}"}
LIMITS = {"memory_mb": 128, "disk_mb": 16, "seconds": 120, "pids": 32}
# Which processes are on which machine; the hosts have nothing in common but the blob store.
LAYOUT = {
    "api1": ("api",),
    "api2": ("api",),
    "host1": ("workers host",),
    "host2": ("workers host",),
    "host3": ("workers host",),
    "chores1": ("workers dispatch", "workers reap", "projections", "workers build"),
    "chores2": ("workers dispatch", "workers reap", "projections", "workers build"),
}


class Process:
    """A process of ours on a machine, and its log."""

    def __init__(
        self, machine: Machine, words: str, popen: subprocess.Popen[bytes], log: Path
    ) -> None:
        self.machine = machine
        self.words = words
        self.popen = popen
        self.log = log

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        text = self.log.read_text().splitlines()
        return [json.loads(line) for line in text if line.startswith("{")]

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return its lines of one kind."""
        return [line for line in self.lines if line["event"] == event]


class Installation:
    """Started by `start`; clients are on a machine of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs"
        self.blobs.mkdir()
        self.network = Network(root)
        self.client = self.network.machine("client")
        self.store = self.network.machine("store")
        self.cache = self.network.machine("cache")
        self.processes: list[Process] = []
        self._servers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start PostgreSQL and Redis, then everything else; returns when all is ready."""
        self._start_postgres()
        self._start_redis()
        for name, processes in LAYOUT.items():
            machine = self.network.machine(name)
            if not self.processes:
                self._bootstrap(machine)
            self.processes += [self._begin(machine, words) for words in processes]
        for process in self.processes:
            self._await_ready(process)

    def stop(self) -> None:
        """End everything in order, and the machines."""
        for process in self.processes:
            process.popen.send_signal(signal.SIGTERM)
        for process in self.processes:
            end(process.popen)
        for server in self._servers:
            end(server, signal.SIGINT)
        self.network.close()

    def process(self, machine: str) -> Process:
        """Return the first process on a machine."""
        return next(each for each in self.processes if each.machine.name == machine)

    # -- as a client

    def url(self, api: str) -> str:
        """Return where an API is."""
        return f"http://{self.network.machine(api).address}:8700"

    def deploy(self, api: str, name: str, source: str, **more: Any) -> None:
        """Deploy a program through one API."""
        body = {"name": name, "source": {"files": {"agent.py": source}}, "limits": LIMITS, **more}
        self._post(api, "/v1/workspaces/default/deployments", body, 201)

    def request(self, api: str, name: str, message: str = "0.01") -> str:
        """Start a run through one API; returns its id."""
        path = f"/v1/workspaces/default/deployments/{name}/runs"
        return self._post(api, path, {"message": message}, 202)["id"]

    def cancel(self, api: str, run_id: str) -> None:
        """Ask for a run's end; it may have ended meanwhile."""
        self._post(api, f"/v1/runs/{run_id}/cancel", {}, 202, 409)

    def history(self, api: str, run_id: str) -> list[dict[str, Any]]:
        """Return all events of a run, asked for again while the API says 503."""
        path = f"{self.url(api)}/v1/streams/run-{run_id}/events"
        deadline = time.monotonic() + AGAIN_SECONDS
        while True:
            answer = httpx.get(path, params={"limit": 1000}, headers=HEADERS, timeout=10)
            if answer.status_code != 503 or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    def wait_for(
        self, api: str, run_id: str, type_: str, seconds: float = 30, attempt: int = 0
    ) -> dict[str, Any]:
        """Return a run's first event of a type, once it is there."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            nonlocal found
            events = self.history(api, run_id)
            found = [each for each in events if each["type"] == type_]
            found = [each for each in found if not attempt or each["data"]["attempt"] == attempt]
            return bool(found)

        until(there, seconds, f"{type_} of {run_id}")
        return found[0]

    def follow(self, api: str, run_id: str, after: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield versions and frames as they come through one API."""
        headers = {**HEADERS, "Accept": "text/event-stream"}
        if after:
            headers["Last-Event-ID"] = str(after)
        path = f"{self.url(api)}/v1/runs/{run_id}/events"
        timeout = httpx.Timeout(5, read=SILENCE_SECONDS)
        with httpx.stream("GET", path, headers=headers, timeout=timeout) as answer:
            assert answer.status_code == 200
            id = ""
            for line in answer.iter_lines():
                field, _, value = line.partition(":")
                if field == "id":
                    id = value.strip()
                elif field == "data" and id:
                    yield int(id), json.loads(value)
                    id = ""

    def listed(self, api: str, run_id: str) -> str:
        """Return the status that the list of runs has of one; empty if it is not listed."""
        path = f"{self.url(api)}/v1/workspaces/default/runs"
        answer = httpx.get(path, params={"limit": 200}, headers=HEADERS, timeout=10)
        assert answer.status_code == 200, answer.text
        return {each["id"]: each["status"] for each in answer.json()["items"]}.get(run_id, "")

    def leader(self, role: str) -> str:
        """Return the machine of who leads: `dispatcher`, `reaper` or `projector`."""
        rows = asyncio.run(self._fetch("SELECT owner FROM leaders WHERE role = $1", role))
        return rows[0][0].split("-")[1] if rows else ""

    async def _fetch(self, text: str, *values: str) -> Sequence[Sequence[Any]]:
        connection = await connect(self.environment(self.client)["ARGOSY_DATABASE"])
        try:
            return await connection.fetch(text, *values)
        finally:
            await connection.close()

    def host_of(self, event: dict[str, Any]) -> str:
        """Return the machine that a claim names."""
        return event["data"]["worker"].split("-")[1]

    def _post(self, api: str, path: str, body: dict[str, Any], *expected: int) -> dict[str, Any]:
        answer = httpx.post(f"{self.url(api)}{path}", json=body, headers=HEADERS, timeout=15)
        assert answer.status_code in expected, answer.text
        return answer.json()

    # -- starting

    def environment(self, machine: Machine) -> dict[str, str]:
        """Return what every process on a machine is told."""
        return {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.network.disk),
            "ARGOSY_DATA": str(self.network.disk / "data"),
            "ARGOSY_BLOBS": str(self.blobs),
            "ARGOSY_DATABASE": f"postgresql://argosy@{self.store.address}:5432/postgres",
            "ARGOSY_REDIS": f"redis://{self.cache.address}:6379/0",
            "ARGOSY_HOST": machine.address,
            "ARGOSY_LEASE_SECONDS": str(LEASE_SECONDS),
            "ARGOSY_DEV_API_KEY": KEY,
            "ARGOSY_MASTER_KEY": "5" * 64,
        }

    def _begin(self, machine: Machine, words: str) -> Process:
        log = self.root / f"{machine.name}-{words.rsplit(maxsplit=1)[-1]}.log"
        popen = self._popen(machine, [sys.executable, "-m", *words.split()], log)
        return Process(machine, words, popen, log)

    def _popen(self, machine: Machine, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            return subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(LEASH), str(os.getpid())),
                    *machine.command(command),
                ],
                cwd=ROOT,
                env=self.environment(machine),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _bootstrap(self, machine: Machine) -> None:
        log = self.root / "bootstrap.log"
        made = self._popen(machine, [sys.executable, "-m", "api", "bootstrap"], log)
        assert made.wait(START_SECONDS) == 0, log.read_text()

    def _await_ready(self, process: Process) -> None:
        def ready() -> bool:
            assert process.popen.poll() is None, process.log.read_text()
            return bool(process.said("ready") or process.said("api.serving"))

        until(ready, START_SECONDS, f"{process.words} on {process.machine.name}")

    def _start_postgres(self) -> None:
        found = find_postgres()
        assert found is not None
        directory = self.root / "postgres"
        directory.mkdir()
        run_as = run_as_somebody_else(directory)
        data = directory / "data"
        initdb = [*run_as, str(found / "initdb"), "-D", str(data), "-U", "argosy", "-A", "trust"]
        initdb += ["--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(initdb, check=True, capture_output=True)
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {NETWORK}.0/24 trust\n")
        given = (f"listen_addresses={self.store.address}", "unix_socket_directories=", "fsync=off")
        command = [*run_as, str(found / "postgres"), "-D", str(data), *(f"-c{x}" for x in given)]
        command[0] = str(shutil.which(command[0]))
        log = self.root / "postgres.log"
        server = self._popen(self.store, command, log)
        self._servers.append(server)
        until(lambda: "ready to accept" in log.read_text(), START_SECONDS, "PostgreSQL")

    def _start_redis(self) -> None:
        directory = self.root / "redis"
        directory.mkdir()
        command = [find_binary(), "--port", "6379", "--bind", self.cache.address]
        command += ["--protected-mode", "no", "--save", "", "--dir", str(directory)]
        log = self.root / "redis.log"
        self._servers.append(self._popen(self.cache, command, log))
        until(lambda: "eady to accept" in log.read_text(), START_SECONDS, "Redis")


def until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Return as soon as `true()`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.03)
