"""The installation under attack: directories, databases, and every process of `compose.yaml`."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from random import Random

from adapters.event_store.asyncpg_types import LOST, PostgresError, connect
from adapters.scratch import remove_tree
from tests.chaos.children import (
    Child,
    Orphans,
    Ready,
    answers_ping,
    listens,
    says_ready,
)
from tests.chaos.programs import make_wheels
from tests.e2e.servers import ROOT, free_port
from tests.postgres import find_postgres, run_as_somebody_else
from workers.dev.redis_server import redis_command
from workers.sandboxes.kernel import MS_PRIVATE, MS_REC, mount

DISK_MB = 448  # a builder leaves 256 MB free
READY_SECONDS = 60.0
# PostgreSQL may lose at a crash what was committed like this: what must not be, says so itself.
_POSTGRES = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "synchronous_commit": "off",
    "fsync": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
}
_WORKERS = ("host-1", "host-2", "build-1", "dispatch-1", "reap-1")


class Installation:
    """Made in a new directory. To be called in the main thread, before there is any other.

    key: an admin key of its one organization. small_disk: the data directory is a disk of its own.
    launcher: what goes between `python` and a module.
    """

    def __init__(self, seed: int, database: str, lease_seconds: float, launcher: list[str]) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="argosy-chaos-"))
        self.root.chmod(0o755)
        self.data, self.logs, self.temporary = (
            self.root / "data",
            self.root / "logs",
            self.root / "tmp",
        )
        self.disk = self.root / "disk"
        for folder in (self.disk, self.logs, self.temporary):
            folder.mkdir(mode=0o755)
        self.small_disk = _mount_small_disk(self.disk)
        self.data = self.disk / "data"
        self.port = free_port()
        self.key = f"argosy_chaos_{Random(seed).randbytes(24).hex()}"
        self.master_key = Random(seed).randbytes(32).hex()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = database
        self.database_url = ""
        self.children: list[Child] = []
        self.orphans = Orphans()
        self._lease_seconds = lease_seconds
        self._launcher = launcher
        make_wheels(self.root / "wheels")

    def child(self, name: str) -> Child:
        """Return a process by its name."""
        return next(each for each in self.children if each.name == name)

    async def start(self) -> None:
        """Start everything and wait until it serves."""
        if self.database == "postgres":
            await self._start_postgres()
        await self._start_all(["redis"])
        await self._once("api", "bootstrap")
        await self._start_all([*_WORKERS, "projector-1", "api-1"])

    async def stop(self) -> None:
        """End everything in order: work first, then what it uses."""
        for parts in (("api", "host", "build", "dispatch", "reap", "projector"), ("redis",)):
            ending = [child.end() for child in self.children if child.part in parts]
            await asyncio.gather(*ending)

    async def stop_database(self) -> None:
        """End PostgreSQL."""
        for child in self.children:
            if child.part == "postgres":
                await child.end(signal.SIGINT)

    def remove(self) -> None:
        """Remove the directory, and the disk with it."""
        if self.small_disk:
            subprocess.run(["umount", str(self.disk)], check=True)
        remove_tree(self.root)

    def environment(self) -> Mapping[str, str]:
        """Return what every process is told."""
        return {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.temporary),
            "ARGOSY_DATA": str(self.data),
            "ARGOSY_PORT": str(self.port),
            "ARGOSY_REDIS": f"unix://{self._redis}",
            "ARGOSY_LEASE_SECONDS": str(self._lease_seconds),
            "ARGOSY_SWEEP_SECONDS": "0.5",
            "ARGOSY_DRAIN_SECONDS": "5",
            "ARGOSY_UNREADY_SECONDS": "0.5",
            "ARGOSY_LIMIT_SCOPE": "sandbox" if os.geteuid() == 0 else "process",
            "ARGOSY_PACKAGE_INDEX": str(self.root / "wheels"),
            "ARGOSY_DEV_API_KEY": self.key,
            "ARGOSY_MASTER_KEY": self.master_key,
            **({"ARGOSY_DATABASE": self.database_url} if self.database_url else {}),
        }

    @property
    def _redis(self) -> Path:
        return self.root / "redis.sock"

    async def _start_all(self, names: list[str]) -> None:
        started = [self._make(name) for name in names]
        for child in started:
            child.begin()
        for child in started:
            try:
                await asyncio.wait_for(child.ready.wait(), READY_SECONDS)
            except TimeoutError:
                raise AssertionError(f"{child.name} does not start: {child.last_words}") from None

    def _make(self, name: str) -> Child:
        part = name.partition("-")[0]
        module = {"api": ["api"], "projector": ["projections"]}.get(part, ["workers", part])
        command = [sys.executable, *self._launcher, *module]
        ready: Ready = listens(self.port) if part == "api" else says_ready
        if part == "redis":
            command, ready = redis_command(self._redis, self.root), answers_ping(self._redis)
        return self._add(name, part, command, ready)

    def _add(self, name: str, part: str, command: list[str], ready: Ready) -> Child:
        child = Child(name, part, command, self.environment(), self.logs, ready)
        self.children.append(child)
        return child

    async def _once(self, *words: str) -> None:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    async def _start_postgres(self) -> None:
        directory = self.root / "postgres"
        directory.mkdir()
        binaries = find_postgres()
        assert binaries is not None
        run_as = run_as_somebody_else(directory)
        data = directory / "data"
        initdb = [*run_as, str(binaries / "initdb"), "-D", str(data), "-U", "argosy", "-A", "trust"]
        initdb += ["--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
        done = await asyncio.to_thread(subprocess.run, initdb, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        port = free_port()
        settings = {**_POSTGRES, "port": str(port)}
        given = [f"-c{name}={value}" for name, value in settings.items()]
        url = f"postgresql://argosy@127.0.0.1:{port}/postgres"
        command = [*run_as, str(binaries / "postgres"), "-D", str(data), *given]
        command = [str(shutil.which(command[0])), *command[1:]]
        child = self._add("postgres", "postgres", command, _answers_sql(url))
        child.begin()
        async with asyncio.timeout(READY_SECONDS):
            await child.ready.wait()
        self.database_url = url


def _answers_sql(url: str) -> Ready:
    async def ready(_: Child) -> bool:
        with suppress(PostgresError, *LOST):
            connection = await connect(url, timeout=5)
            await connection.close()
            return True
        return False

    return ready


def _mount_small_disk(place: Path) -> bool:
    """Mount a disk that can be filled, in a mount namespace that ends with us; root only."""
    if os.geteuid() != 0:
        return False
    os.unshare(os.CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount("argosy-chaos", str(place), "tmpfs", 0, f"mode=0755,size={DISK_MB}m")
    return True
