"""Every process is replaced, one after the other, and nobody who uses the installation notices."""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
from argosy import Argosy
from argosy.models import Recorded
from msgspec import Struct

from adapters.scratch import remove_tree
from tests.chaos.children import Child, Ready, says_ready
from tests.chaos.leftovers import groups_of
from tests.conftest import require
from tests.e2e.balancers import Balancer, balancer
from tests.e2e.servers import KEY, ROOT, free_port
from tests.postgres import postgres_server, postgres_url
from tests.redis_server import RedisServer, redis_server, wait_until
from workers.sandboxes.driver import SandboxUnsupported
from workers.sandboxes.drivers import find_bubblewrap

__all__ = ["postgres_server", "postgres_url", "redis_server"]

READY_SECONDS = 60.0

LISTED_SECONDS = 20.0
CLIENTS = 3
LAST = "the last"
APIS = ("api-1", "api-2")
HOSTS = ("host-1", "host-2")
CHORES = ("dispatch-1", "reap-1", "projector-1")
LIMITS = {"memory_mb": 128, "disk_mb": 16, "seconds": 120, "pids": 32}
# It may not be run again once it was heard of: whoever holds it has to let it end.
TALK = """
import time

def handler(request):
    for line in range(12):
        yield f"{line} "
        time.sleep(0.1)
    yield request["message"]
"""


class SeenRun(Struct):
    """What a client saw of one run. ended: the type of the last event."""

    run_id: str
    message: str
    versions: list[int] = []
    ended: str = ""


class Seen(Struct):
    """What clients saw. log: positions; lost: why the log's follower had to connect again."""

    runs: list[SeenRun] = []
    log: list[int] = []
    lost: list[str] = []


class Installation:
    """Two APIs, two run hosts and the chores, around one database."""

    def __init__(self, root: Path, database: str, redis: str) -> None:
        self.root = root
        self.children: dict[str, Child] = {}
        self.gone: list[Child] = []
        self.ports = {name: free_port() for name in APIS}
        self._database = database
        self._redis = redis
        (root / "logs").mkdir()
        (root / "tmp").mkdir()

    def environment(self, name: str = APIS[0]) -> Mapping[str, str]:
        """Return what a process is told."""
        return {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.root / "tmp"),
            "ARGOSY_DATA": str(self.root / "data"),
            "ARGOSY_DATABASE": self._database,
            "ARGOSY_REDIS": self._redis,
            "ARGOSY_PORT": str(self.ports.get(name, 0) or self.ports[APIS[0]]),
            "ARGOSY_DRAIN_SECONDS": "15",
            "ARGOSY_UNREADY_SECONDS": "0.5",
            "ARGOSY_LIMIT_SCOPE": "sandbox" if os.geteuid() == 0 else "process",
            "ARGOSY_DEV_API_KEY": KEY,
            "ARGOSY_MASTER_KEY": "7" * 64,
        }

    async def begin(self, name: str) -> None:
        """Start a process, and return when it is ready."""
        part = name.partition("-")[0]
        module = {"api": ["api"], "projector": ["projections"]}.get(part, ["workers", part])
        ready: Ready = _serves if part == "api" else says_ready
        life = f"{name}-{len(self.gone)}"
        child = Child(
            life,
            part,
            [sys.executable, "-m", *module],
            self.environment(name),
            self.root / "logs",
            ready,
        )
        self.children[name] = child
        child.begin()
        try:
            await asyncio.wait_for(child.ready.wait(), READY_SECONDS)
        except TimeoutError:
            raise AssertionError(f"{name} does not start: {child.last_words}") from None

    async def end(self, name: str) -> None:
        """Ask a process to stop, and return when it has."""
        child = self.children.pop(name)
        await self._end(child)

    async def overtake(self, name: str) -> None:
        """Start another of a kind that leads or waits to, then stop the one there was."""
        old = self.children[name]
        await self.begin(name)
        await self._end(old)

    async def _end(self, child: Child) -> None:
        self.gone.append(child)
        await child.end()

    def left(self) -> list[str]:
        """Return processes and control groups that are there though everything was ended."""
        groups = groups_of({death.pid for child in self.gone for death in child.deaths})
        return [*groups, *(_named(each) for each in psutil.process_iter() if self._is_ours(each))]

    def _is_ours(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            words = [*process.cmdline(), *process.environ().values()]
            return any(str(self.root) in word for word in words)
        return False


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory that users of sandboxes may pass through."""
    made = Path(tempfile.mkdtemp(prefix="argosy-rolling-"))
    made.chmod(0o755)
    yield made
    remove_tree(made)


async def test_every_process_is_replaced_and_no_client_notices(
    root: Path, postgres_url: str, redis_server: RedisServer
) -> None:
    """In the order of docs/guides/upgrade.md."""
    try:
        find_bubblewrap()
    except SandboxUnsupported as error:
        require("bwrap", error.detail)
    async with (
        _started(root, postgres_url, redis_server.url) as installation,
        balancer(list(installation.ports.values())) as front,
    ):
        await _until_fit(front, 0, 1)
        await asyncio.to_thread(_deploy, front.url)
        async with _clients(front.url) as seen:
            await _replace_everything(installation, front)
        await asyncio.to_thread(_check, front.url, seen)

    deaths = [death for child in installation.gone for death in child.deaths]
    assert len(deaths) == 2 * len((*APIS, *HOSTS, *CHORES))
    assert [death for death in deaths if death.code != 0 or not death.asked] == []
    assert [said for child in installation.gone for said in child.said()] == []
    assert installation.left() == []
    assert all(taken > 0 for taken in front.taken)


async def _replace_everything(installation: Installation, front: Balancer) -> None:
    for name in CHORES:
        await installation.overtake(name)
    for name in HOSTS:
        await installation.end(name)
        await installation.begin(name)
    for number, name in enumerate(APIS):
        await installation.end(name)
        await installation.begin(name)
        await _until_fit(front, number)


# -- clients


@asynccontextmanager
async def _clients(url: str) -> AsyncGenerator[Seen]:
    """Let clients ask for one run after the other meanwhile; raises what any of them raised."""
    over = threading.Event()
    seen = Seen()
    asking = [asyncio.to_thread(_ask, url, number, over, seen.runs) for number in range(CLIENTS)]
    work = [asyncio.create_task(each) for each in asking]
    following = asyncio.create_task(asyncio.to_thread(_follow_log, url, seen))
    try:
        yield seen
    finally:
        over.set()
        await asyncio.wait(work)
        await asyncio.to_thread(_ask_last, url, seen.runs)
        await asyncio.wait([following])
    await asyncio.gather(*work, following)


def _ask(url: str, number: int, over: threading.Event, seen: list[SeenRun]) -> None:
    with Argosy(url, KEY) as client:
        count = 0
        while not over.is_set():
            count += 1
            _ask_once(client, f"{number}.{count}", seen)


def _ask_last(url: str, seen: list[SeenRun]) -> None:
    with Argosy(url, KEY) as client:
        _ask_once(client, LAST, seen)


def _ask_once(client: Argosy, message: str, seen: list[SeenRun]) -> None:
    """Ask for a run, follow it to its end, and look at it and at the list."""
    run = client.runs.start("talk", message)
    one = SeenRun(run.id, message)
    seen.append(one)
    for event in client.runs.follow(run.id):
        if event.version is not None:
            one.versions.append(event.version)
            one.ended = event.type
    assert client.runs.get(run.id).status == "completed"
    client.runs.list(deployment="talk")


def _follow_log(url: str, seen: Seen) -> None:
    """Follow the log until the last run ends."""
    with Argosy(url, KEY) as client:
        for event in client.events.follow(lost=seen.lost.append):
            seen.log.append(event.position or 0)
            if event.type == "run.ended" and str(event.data["output"]).endswith(LAST):
                return


def _deploy(url: str) -> None:
    with Argosy(url, KEY) as client:
        deployed = client.deploy({"agent.py": TALK}, name="talk", limits=LIMITS, max_attempts=1)
        assert client.wait_until_ready(deployed, timeout=READY_SECONDS).serving == 1


def _check(url: str, seen: Seen) -> None:
    """Hold what clients saw against the log, and the log against what was promised."""
    assert len(seen.runs) > CLIENTS
    assert seen.lost, "no API that stopped had a stream to cut off"
    assert seen.log == list(range(1, len(seen.log) + 1))
    with Argosy(url, KEY) as client:
        for run in seen.runs:
            _check_run(run, list(client.events.read(stream=f"run-{run.run_id}")))
        completed = {run.run_id: "completed" for run in seen.runs}  # and none was made twice
        wait_until(lambda: _listed(client) == completed, LISTED_SECONDS, "the list of runs")


def _check_run(run: SeenRun, history: list[Recorded]) -> None:
    types = [event.type for event in history]
    [ended] = [event for event in history if event.type == "run.ended"]
    assert (ended.data["how"], types.count("run.claimed")) == ("completed", 1), history
    assert ended.data["output"].endswith(run.message)
    assert run.ended == "complete", run
    assert run.versions == list(range(1, ended.version + 1)), run


def _listed(client: Argosy) -> dict[str, str]:
    return {run.id: run.status for run in client.runs.all()}


# -- processes


@asynccontextmanager
async def _started(root: Path, database: str, redis: str) -> AsyncGenerator[Installation]:
    installation = Installation(root, database, redis)
    made = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "api", "bootstrap"],
        cwd=ROOT,
        env=installation.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    try:
        await asyncio.gather(*(installation.begin(name) for name in (*APIS, *HOSTS, *CHORES)))
        yield installation
    finally:
        await asyncio.gather(*(installation.end(name) for name in list(installation.children)))


async def _serves(child: Child) -> bool:
    """Whether it has said that it serves; whether it does, the balancer finds out."""
    return b'"event":"api.serving"' in child.log.read_bytes()


async def _until_fit(front: Balancer, *numbers: int) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while not all(front.fit[number] for number in numbers):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


def _named(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return f"{process.pid} {' '.join(process.cmdline())[:200]}"
    return str(process.pid)
