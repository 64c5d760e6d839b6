"""A real `argosy dev`, as a person would start it, and its command line beside it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from msgspec import Struct

ROOT = Path(__file__).resolve().parents[2]
ARGOSY = str(Path(sys.executable).with_name("argosy"))
KEY = "argosy_e2e_key_that_is_only_used_by_tests_0000000"
START_SECONDS = 60


class Finished(Struct, frozen=True):
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


class DevServer(Struct, frozen=True):
    """A running dev server, and the environment in which its command line finds it."""

    process: subprocess.Popen[str]
    data: Path
    url: str
    log: Path

    def argosy(
        self,
        *arguments: str,
        timeout: float = 60,
        expect: int | None = 0,
        stdin: TextIO | None = None,
    ) -> Finished:
        """Run one command to its end; fails unless it exits with `expect` (None: whatever)."""
        done = subprocess.run(
            [ARGOSY, *arguments],
            cwd=ROOT,
            env=self.environment(),
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        finished = Finished(done.returncode, done.stdout, done.stderr)
        assert expect is None or finished.code == expect, (
            f"argosy {' '.join(arguments)} exited {finished.code}\n"
            f"{finished.out}\n{finished.err}\n{self.log.read_text()[-4000:]}"
        )
        return finished

    def environment(self) -> dict[str, str]:
        """Return what the command line needs to find this server and nothing of the person's."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.data),
            "ARGOSY_DATA": str(self.data),
            "XDG_CONFIG_HOME": str(self.data / "config"),
        }

    def stop(self, seconds: float = 20) -> int:
        """Ask it to stop as Ctrl-C does, and return its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(seconds)


def free_port() -> int:
    """Return a port that nobody listens on right now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def dev_server(
    data: Path, *arguments: str, environment: dict[str, str] | None = None
) -> Generator[DevServer]:
    """Start `argosy dev` on a free port and wait until it says that it is ready."""
    port = free_port()
    log = data.parent / f"{data.name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [ARGOSY, "dev", "--port", str(port), "--data-dir", str(data), *arguments],
            cwd=ROOT,
            env=os.environ | {"ARGOSY_DEV_API_KEY": KEY} | (environment or {}),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    server = DevServer(process, data, f"http://127.0.0.1:{port}", log)
    try:
        _wait_until_ready(server)
        yield server
    finally:
        if process.poll() is None:
            try:
                server.stop()
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def _wait_until_ready(server: DevServer) -> None:
    deadline = time.monotonic() + START_SECONDS
    ready = server.data / "dev.json"
    while time.monotonic() < deadline:
        if ready.exists():
            return
        if server.process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"argosy dev did not become ready:\n{server.log.read_text()[-6000:]}")
