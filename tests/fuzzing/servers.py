"""The API and its projector as processes of their own, on a database and a Redis of the tests'."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
import psutil
from msgspec import Struct

from tests.e2e.servers import ROOT, free_port
from tests.redis_server import RedisServer
from tests.stores import MASTER_KEY

KEY = "argosy_key_of_the_fuzzing_tests_000000000000000000000"
START_SECONDS = 30.0
STOP_SECONDS = 20.0
TROUBLE = ("Traceback", '"level":"error"', '"level": "error"')


class Served(Struct, frozen=True):
    """A running server. log_url: its log's database. log: what its processes said."""

    url: str
    log_url: str
    log: Path
    process: subprocess.Popen[bytes]
    environment: Mapping[str, str]

    def trouble(self) -> list[str]:
        """Return the lines that no process should have to say."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line[:4000] for line in lines if any(each in line for each in TROUBLE)]

    def resident_mb(self) -> float:
        """Return the memory that the API holds."""
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def open_files(self) -> int:
        """Return how many files and sockets the API holds."""
        return psutil.Process(self.process.pid).num_fds()


@contextmanager
def serving(directory: Path, database: str, redis: RedisServer) -> Generator[Served]:
    """Serve from an empty database; `database` is a URL, empty for SQLite in the directory."""
    port = free_port()
    environment = os.environ | {
        "ARGOSY_DATA": str(directory / "data"),
        "ARGOSY_PORT": str(port),
        "ARGOSY_REDIS": redis.url,
        "ARGOSY_DATABASE": database,
        "ARGOSY_DEV_API_KEY": KEY,
        "ARGOSY_MASTER_KEY": MASTER_KEY,
        "ARGOSY_REQUEST_RATE": "0",
    }
    log = directory / "server.log"
    log_url = database or f"sqlite:///{directory / 'data' / 'log.db'}"
    subprocess.run(
        [sys.executable, "-m", "api", "bootstrap"],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
    )
    with (
        log.open("ab") as output,
        _running(["projections"], environment, output),
        _running(["api"], environment, output) as process,
    ):
        served = Served(f"http://127.0.0.1:{port}", log_url, log, process, environment)
        _wait_until_ready(served)
        yield served


@contextmanager
def hosting(served: Served) -> Generator[None]:
    """Have a run host run what was asked for so far, and what is asked for."""
    with (
        served.log.open("ab") as output,
        _running(["workers", "host"], served.environment, output),
    ):
        yield


@contextmanager
def _running(
    command: Sequence[str], environment: Mapping[str, str], output: IO[bytes]
) -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def _wait_until_ready(served: Served) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and served.process.poll() is None:
        try:
            if httpx.get(f"{served.url}/readyz").json()["checks"]["projections"] == "ok":
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the server did not become ready:\n{served.log.read_text()[-4000:]}")
