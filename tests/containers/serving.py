"""Podman's API on a socket: one service for a process of tests, which ends with it.

As a program it serves the socket that is its standard input, and sees to what podman's own
processes leave behind: tests that look for children of theirs must not find those.
"""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.containers.engine import SERVING, Engine, need_podman
from workers.sandboxes.kernel import adopt_orphans

ROOT = Path(__file__).resolve().parents[2]


@cache
def engine_url() -> str:
    """Start the service at the first call; return its URL. Skips the test without podman.

    ARGOSY_TEST_ENGINE is the URL of another engine to take, Docker's for one, with no containers.
    """
    if given := os.environ.get("ARGOSY_TEST_ENGINE"):
        return given
    need_podman()
    root = Path(tempfile.mkdtemp(prefix="argosy-engine-"))
    engine = Engine(root)
    path = root / "podman.sock"
    with socket.socket(socket.AF_UNIX) as listening, (root / "log").open("wb") as log:
        listening.bind(str(path))
        listening.listen(128)
        service = subprocess.Popen(
            [sys.executable, "-m", "tests.containers.serving"],
            cwd=root,  # podman's processes leave a file there when memory runs out
            env={**engine.environment, "PYTHONPATH": str(ROOT)},
            stdin=listening.fileno(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    atexit.register(_stop, service, engine, root, os.getpid())
    return f"unix://{path}"


def _stop(service: subprocess.Popen[bytes], engine: Engine, root: Path, owner: int) -> None:
    if os.getpid() != owner:  # a child of the tests that ends by itself
        return
    service.terminate()
    service.wait()
    engine.try_("rm", "--all", "--force")
    subprocess.run(["umount", str(root / "graph/overlay")], capture_output=True, check=False)
    shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    """Serve until told to stop, which may be at once."""
    adopt_orphans()
    told = False
    podman: subprocess.Popen[bytes] | None = None

    def stop(*_: object) -> None:
        nonlocal told
        told = True
        if podman is not None:
            podman.terminate()

    signal.signal(signal.SIGTERM, stop)
    podman = subprocess.Popen(SERVING)
    if told:  # while it was started
        podman.terminate()
    while os.wait()[0] != podman.pid:
        pass


if __name__ == "__main__":
    main()
