"""dockerd, with a store and a socket of its own; it makes no network."""

import os
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import require

START_SECONDS = 30.0
_NETWORKLESS = ("--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false")


class Docker:
    """Runs docker's client; everything that it and its daemon keep is below `root`."""

    def __init__(self, root: Path) -> None:
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(root)}
        self._environment["DOCKER_HOST"] = f"unix://{root}/socket"

    def try_(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command to its end, whatever that is."""
        return subprocess.run(
            ["docker", *words],
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def run(self, *words: str, stdin: str = "") -> str:
        """Run one command to its end; returns what it printed."""
        done = self.try_(*words, stdin=stdin)
        assert done.returncode == 0, f"docker {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def docker(root: Path, registry: str) -> Generator[Docker]:
    """A daemon that pulls from a registry on loopback; skips the test where there is none."""
    missing = [name for name in ("docker", "dockerd") if shutil.which(name) is None]
    if missing:
        require("docker", f"there is no {' and no '.join(missing)}")
    if os.geteuid() != 0:
        require("docker", "only root may start its daemon")
    root.mkdir()
    places = ("--data-root", root / "data", "--exec-root", root / "run", "--pidfile", root / "pid")
    limits = ("--ip-masq=false", "--default-ulimit", "nofile=20000:20000")
    command = ["dockerd", *places, "--host", f"unix://{root}/socket", *_NETWORKLESS, *limits]
    with (root / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [*command, "--insecure-registry", registry], stdout=log, stderr=log
        )
        try:
            found = Docker(root)
            deadline = time.monotonic() + START_SECONDS
            while found.try_("version").returncode != 0:
                assert daemon.poll() is None, (root / "log").read_text()[-4000:]
                assert time.monotonic() < deadline, (root / "log").read_text()[-4000:]
                time.sleep(0.1)
            yield found
        finally:
            daemon.terminate()
            daemon.wait(START_SECONDS)
