"""A PostgreSQL server of the tests' own, from installed binaries; or the one that they are given.

ARGOSY_TEST_POSTGRES names a server to use instead (`postgresql://user@host:port/database`, allowed
to create databases). Every test gets a database of its own.
"""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path

import pytest

from adapters.event_store.asyncpg_types import PostgresError, connect
from tests.conftest import require

_UNPRIVILEGED = "nobody"  # the server refuses to run as root
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # Nothing here has to survive the machine; what is measured in `bench/` syncs for real.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "autovacuum_naptime": "5s",
}


class Server:
    """A running server, and databases on it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._numbers = count(1)

    def new_database(self) -> str:
        """Create an empty database; returns its URL."""
        name = f"t{os.getpid()}_{next(self._numbers)}"
        asyncio.run(self.run(f'CREATE DATABASE "{name}"'))
        base, _, _ = self.url.rpartition("/")
        return f"{base}/{name}"

    def drop_database(self, url: str) -> None:
        """Throw a database away, whoever is connected to it."""
        name = url.rpartition("/")[2]
        asyncio.run(self.run(f'DROP DATABASE "{name}" WITH (FORCE)'))

    async def run(self, text: str) -> None:
        """Run one statement."""
        connection = await connect(self.url)
        try:
            await connection.execute(text)
        finally:
            await connection.close()


def start_server(settings: dict[str, str]) -> Generator[Server]:
    """Start a server with settings of its own; skips where PostgreSQL is not installed."""
    found = find_postgres()
    if found is None:
        require("postgres", "no initdb and postgres on the path or below /usr/lib/postgresql")
        return
    directory = Path(tempfile.mkdtemp(prefix="argosy-postgres-"))
    data = directory / "data"
    run_as = run_as_somebody_else(directory)
    process: subprocess.Popen[bytes] | None = None
    try:
        initdb = [*run_as, str(found / "initdb"), "-D", str(data), "-U", "argosy", "-A", "trust"]
        _run([*initdb, "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"], directory)
        port = _free_port()
        given = [f"-c{name}={value}" for name, value in {**settings, "port": str(port)}.items()]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [*run_as, str(found / "postgres"), "-D", str(data), *given],
                cwd=directory,
                stdout=log,
                stderr=log,
            )
        server = Server(f"postgresql://argosy@127.0.0.1:{port}/postgres")
        _await_server(server, process, directory / "log")
        yield server
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # disconnects everybody, and ends in order
            process.wait(30)
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A server for all tests of the session."""
    given = os.environ.get("ARGOSY_TEST_POSTGRES")
    if given:
        yield Server(given)
    else:
        yield from start_server(_SETTINGS)


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """An empty database."""
    url = postgres_server.new_database()
    yield url
    postgres_server.drop_database(url)


def find_postgres() -> Path | None:
    """Return the folder of the newest server's programs, None where there is none."""
    # Debian keeps them off the path, a folder for each major version.
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    folders = sorted(installed, key=lambda folder: int(folder.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    if on_path is not None:
        folders.append(Path(on_path).parent)
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres")):
            return folder
    return None


def run_as_somebody_else(directory: Path) -> list[str]:
    """Return what goes before a command: another user for root, and an end with the tests'."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0:
        return [setpriv, "--pdeathsig", "SIGINT"] if setpriv else []
    if setpriv is None:
        require("postgres", "root needs setpriv to start a server as somebody else")
        return []
    user = pwd.getpwnam(_UNPRIVILEGED)
    os.chown(directory, user.pw_uid, user.pw_gid)
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [setpriv, *ids, "--pdeathsig", "SIGINT"]


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await_server(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            asyncio.run(server.run("SELECT 1"))
        except (OSError, PostgresError):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start: {log.read_text()}")
            time.sleep(0.02)
        else:
            return
