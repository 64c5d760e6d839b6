"""Several machines that share PostgreSQL, Redis and the blob store, and what each cut costs."""

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from adapters.event_store.store import open_store
from domain.entries import LogWritten
from domain.errors import Fenced
from domain.ids import new_id
from domain.ports import Change, Meta
from tests.machines.installation import HEADERS, LEASE_SECONDS, Installation, until
from tests.machines.network import need_namespaces, on
from workers.leading import LEADER_SECONDS

TAKEOVER_SECONDS = LEASE_SECONDS + 2.0
LED_SECONDS = LEADER_SECONDS * 4 / 3 + 1.0  # until somebody else asks, and has looked once
NOTICED_SECONDS = LEASE_SECONDS + 1.0
BACK_SECONDS = 20.0  # most of it waits for the kernel to send again

# First attempts last until they are cut off, however slow the machine of the tests is.
TALK = """
import time
def handler(request):
    first = request["attempt"] == 1
    for line in range(6000 if first else 100):
        yield f"{request['attempt']}:{line}\\n"
        time.sleep(0.05 if first else 0.005)
"""
SILENT = """
import time
def handler(request):
    time.sleep(300 if request["attempt"] == 1 else 0.1)
    yield f"{request['attempt']}"
"""
BRIEF = """
import time
def handler(request):
    for line in range(100):
        yield f"{request['attempt']}:{line}\\n"
        time.sleep(float(request["message"]))
"""
SAID = [f"{line}\n" for line in range(100)]


@pytest.fixture(scope="module")
def machines() -> Iterator[Installation]:
    """The whole installation, seen from a client's machine."""
    need_namespaces()
    root = Path(tempfile.mkdtemp(prefix="argosy-machines-"))
    root.chmod(0o755)
    installation = Installation(root)
    try:
        installation.start()
        with on(installation.client):
            installation.deploy("api1", "again", TALK, max_attempts=5)
            installation.deploy("api1", "once", TALK)
            installation.deploy("api1", "silent", SILENT)
            installation.deploy("api1", "brief", BRIEF)
            yield installation
    finally:
        installation.stop()
        shutil.rmtree(root)


def test_runs_are_spread_over_the_machines_and_seen_everywhere(machines: Installation) -> None:
    runs = [machines.request("api1", "brief", "0.01") for _ in range(6)]
    hosts = {machines.host_of(machines.wait_for("api2", run, "run.claimed")) for run in runs}

    assert len(hosts) > 1
    for run in runs:
        assert machines.wait_for("api2", run, "run.ended")["data"]["how"] == "completed"
        assert _said_by(machines.history("api2", run), attempt=1) == SAID


def test_what_a_host_that_is_cut_off_did_is_taken_over(machines: Installation) -> None:
    once = machines.request("api1", "once")
    victim = machines.host_of(machines.wait_for("api2", once, "run.claimed"))
    again = _land_on(machines, victim, "again")
    silent = _land_on(machines, victim, "silent")
    seen = _Follower(machines, "api2", again)
    until(lambda: len(seen.frames) > 10, 10, "some frames")

    sandboxes = _sandboxes_of(machines, once, again, silent)
    assert sandboxes <= _open_sandboxes()

    cut = time.monotonic()
    machines.network.cut(machines.network.machine(victim))
    ended = machines.wait_for("api2", once, "run.ended")
    claims = [machines.wait_for("api2", run, "run.claimed", attempt=2) for run in (again, silent)]
    assert time.monotonic() - cut < TAKEOVER_SECONDS
    # The host itself stops what it may not do any more, although nobody can tell it.
    until(lambda: not sandboxes & _open_sandboxes(), NOTICED_SECONDS, "the sandboxes' end")
    assert time.monotonic() - cut < TAKEOVER_SECONDS
    machines.network.mend(machines.network.machine(victim))

    assert (ended["data"]["how"], ended["data"]["reason"]) == ("failed", "worker_lost")
    assert victim not in {machines.host_of(claim) for claim in claims}
    assert machines.wait_for("api1", silent, "run.ended")["data"]["output"] == "2"
    assert machines.wait_for("api1", again, "run.ended")["data"]["how"] == "completed"
    history = machines.history("api1", again)
    assert [each["version"] for each in history] == list(range(1, len(history) + 1))
    assert _said_by(history, attempt=2) == SAID
    kept = _said_by(history, attempt=1)
    assert kept == [f"{line}\n" for line in range(len(kept))]
    _assert_no_word_of_the_lost(history)
    assert seen.all() == [each["version"] for each in history]
    with pytest.raises(Fenced):
        asyncio.run(_append_as_first_attempt(machines, again))
    _land_on(machines, victim, "brief")  # it works again


def test_a_follower_goes_on_at_the_other_api(machines: Installation) -> None:
    run = machines.request("api1", "brief", "0.06")
    seen = _Follower(machines, "api1", run)
    until(lambda: len(seen.frames) > 10, 10, "some frames")
    cut = machines.network.machine("api1")

    machines.network.cut(cut)
    seen.api = "api2"
    with on(cut):
        before = time.monotonic()
        assert httpx.get(f"{machines.url('api1')}/readyz", timeout=10).status_code == 503
        assert time.monotonic() - before < 4

    assert machines.wait_for("api2", run, "run.ended")["data"]["how"] == "completed"
    assert seen.all() == [each["version"] for each in machines.history("api2", run)]
    assert seen.connections > 1
    machines.network.mend(cut)
    until(lambda: _is_ready(machines, "api1"), BACK_SECONDS, "api1 to be ready")
    assert machines.history("api1", run) == machines.history("api2", run)


def test_when_the_leaders_are_cut_off_others_lead(machines: Installation) -> None:
    """A host is cut off, too: that its run is taken over is the new leaders' work."""
    run = machines.request("api1", "again")
    victim = machines.network.machine(
        machines.host_of(machines.wait_for("api2", run, "run.claimed"))
    )
    leading = machines.network.machine(machines.leader("reaper"))

    cut = time.monotonic()
    machines.network.cut(leading)
    machines.network.cut(victim)
    machines.wait_for("api2", run, "run.claimed", attempt=2)
    assert time.monotonic() - cut < LED_SECONDS + TAKEOVER_SECONDS
    for role in ("dispatcher", "reaper", "projector"):
        until(lambda role=role: machines.leader(role) != leading.name, BACK_SECONDS, f"a {role}")
    until(lambda: machines.listed("api2", run) == "completed", BACK_SECONDS, "the list of runs")
    machines.network.mend(leading)
    machines.network.mend(victim)

    for process in machines.processes:
        if process.machine is leading and process.words == "workers reap":
            until(lambda process=process: bool(process.said("role.left")), BACK_SECONDS, "its word")
    assert [process.words for process in machines.processes if process.popen.poll()] == []
    _land_on(machines, victim.name, "brief")


def test_without_redis_runs_go_on_and_new_ones_wait(machines: Installation) -> None:
    going = machines.request("api1", "brief", "0.06")
    seen = _Follower(machines, "api2", going)
    until(lambda: len(seen.frames) > 10, 10, "some frames")

    machines.network.cut(machines.cache)
    waiting = machines.request("api1", "brief")
    assert machines.wait_for("api2", going, "run.ended")["data"]["how"] == "completed"
    assert seen.all() == [each["version"] for each in machines.history("api2", going)]
    machines.network.mend(machines.cache)

    assert machines.wait_for("api2", waiting, "run.ended")["data"]["how"] == "completed"
    assert _said_by(machines.history("api1", waiting), attempt=1) == SAID


def test_when_the_database_and_redis_are_back_everything_goes_on(machines: Installation) -> None:
    runs = [machines.request("api1", name) for name in ("again", "once")]
    sandboxes = _sandboxes_of(machines, *runs)

    machines.network.cut(machines.store)
    machines.network.cut(machines.cache)
    until(lambda: not sandboxes & _open_sandboxes(), NOTICED_SECONDS, "the sandboxes' end")
    machines.network.mend(machines.store)
    machines.network.mend(machines.cache)

    again, once = (machines.wait_for("api2", run, "run.ended") for run in runs)
    assert (again["data"]["how"], again["data"]["attempt"]) == ("completed", 2)
    assert once["data"]["reason"] == "worker_lost"
    assert _said_by(machines.history("api1", runs[0]), attempt=2) == SAID


class _Follower:
    """Reads a run's frames in a thread, and comes back after what it has seen until `complete`."""

    def __init__(self, machines: Installation, api: str, run: str) -> None:
        self.api = api
        self.frames: list[int] = []
        self.connections = 0
        self._machines = machines
        self._run = run
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def all(self) -> list[int]:
        """Return the versions in the order in which they came, once there is no more."""
        self._thread.join(30)
        assert not self._thread.is_alive(), "the stream did not end"
        return self.frames

    def _read(self) -> None:
        while True:
            self.connections += 1
            after = self.frames[-1] if self.frames else 0
            try:
                for version, frame in self._machines.follow(self.api, self._run, after):
                    self.frames.append(version)
                    if frame["type"] == "complete":
                        return
            except httpx.TransportError:
                time.sleep(0.1)


def _land_on(machines: Installation, host: str, deployment: str) -> str:
    """Start runs until one is claimed on a host."""
    deadline = time.monotonic() + BACK_SECONDS
    while time.monotonic() < deadline:
        run = machines.request("api1", deployment)
        if machines.host_of(machines.wait_for("api2", run, "run.claimed")) == host:
            machines.wait_for("api2", run, "run.started")
            return run
        machines.cancel("api1", run)
    raise AssertionError(f"{host} takes no run")


def _sandboxes_of(machines: Installation, *runs: str) -> set[str]:
    """Return the names of the sandboxes that runs have started in."""
    return {machines.wait_for("api1", run, "run.started")["data"]["sandbox"] for run in runs}


def _open_sandboxes() -> set[str]:
    """Return the names of all that there are, on every machine; some wait for their run."""
    words = (process.info["cmdline"] or [""] for process in psutil.process_iter(["cmdline"]))
    return {each[-1] for each in words if each[-1].startswith("argosy-")}


def _said_by(history: list[dict[str, Any]], attempt: int) -> list[str]:
    """Return what an attempt said, its mark left off."""
    deltas = [each["data"]["text"] for each in history if each["type"] == "run.message_said"]
    lines = "".join(deltas).splitlines(keepends=True)
    return [line.partition(":")[2] for line in lines if line.startswith(f"{attempt}:")]


def _assert_no_word_of_the_lost(history: list[dict[str, Any]]) -> None:
    claimed, *later = [each for each in history if each["type"] == "run.claimed"]
    lost = f"worker:{claimed['data']['worker']}"
    assert later
    retried = next(each["version"] for each in history if each["type"] == "run.retried")
    assert not [e for e in history if e["version"] >= retried and e["actor"] == lost]


async def _append_as_first_attempt(machines: Installation, run: str) -> None:
    """Say something as the host does that does not know yet that its run was taken over."""
    store = await open_store(machines.environment(machines.client)["ARGOSY_DATABASE"])
    try:
        entry = LogWritten(stream="stdout", line="too late")
        meta = Meta(actor="worker:lost", workspace_id="", command_id=new_id())
        await store.append([Change(stream=f"run-{run}", events=[entry], attempt=1)], meta)
    finally:
        await store.close()


def _is_ready(machines: Installation, api: str) -> bool:
    try:
        answer = httpx.get(f"{machines.url(api)}/readyz", headers=HEADERS, timeout=5)
    except httpx.TransportError:
        return False
    return answer.json()["status"] == "ok"
