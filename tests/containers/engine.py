"""Podman, with a configuration and a store of its own, so that nobody else's is touched."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import require

_CONTAINERS = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{root}/tmp"
"""
_STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{root}/graph"\nrunroot = "{root}/run"\n'
# Podman's API on the socket that is its standard input, which listens already: whoever connects
# need not know whether podman is there yet.
SERVING = (
    "/bin/sh",
    "-c",
    "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec podman system service --time=0",
)
_REGISTRIES = 'unqualified-search-registries = ["localhost"]\n'


class Engine:
    """Runs podman; everything it keeps is below `root`."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(root), "TMPDIR": str(root)}
        for name, text in (
            ("CONTAINERS_CONF", _CONTAINERS),
            ("CONTAINERS_STORAGE_CONF", _STORAGE),
            ("CONTAINERS_REGISTRIES_CONF", _REGISTRIES),
        ):
            path = root / f"{name.lower()}.conf"
            path.write_text(text.format(root=root))
            self.environment[name] = str(path)

    def run(self, *words: str, check: bool = True, seconds: float = 600) -> str:
        """Run one command to its end; returns what it printed."""
        done = self.try_(*words, seconds=seconds)
        output = done.stdout + done.stderr
        assert done.returncode == 0 or not check, f"podman {' '.join(words)}\n{output[-6000:]}"
        return output

    def try_(self, *words: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """Run one command to its end, whatever that is."""
        return subprocess.run(
            ["podman", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def has(self, image: str) -> bool:
        """Whether an image is in the store."""
        return self.try_("image", "exists", image).returncode == 0

    def command(self, words: Sequence[str]) -> list[str]:
        """Return a command for somebody else to start, in `environment`."""
        return ["podman", *words]


def need_podman() -> None:
    """Skip the test, or fail where it is required, if there is no engine here."""
    missing = [name for name in ("podman", "runc") if shutil.which(name) is None]
    if missing:
        require("podman", f"there is no {' and no '.join(missing)}")
    if os.geteuid() != 0:
        require("podman", "only root may let containers have the host's control groups")


def as_flags(option: str, values: Sequence[str] | Mapping[str, str]) -> list[str]:
    """Return an option once for each value, or for each `name=value`."""
    items = [f"{k}={v}" for k, v in values.items()] if isinstance(values, Mapping) else values
    return [word for each in items for word in (option, each)]


@contextmanager
def serve(engine: Engine) -> Generator[Path]:
    """Serve the engine's API; yields the socket, which listens already."""
    with (
        # Not in its store, which may be kept, and with it the socket of a service that was killed.
        tempfile.TemporaryDirectory(prefix="argosy-engine-") as folder,
        socket.socket(socket.AF_UNIX) as listening,
    ):
        path = Path(folder, "api.sock")
        listening.bind(str(path))
        listening.listen(128)
        with subprocess.Popen(
            SERVING,
            env=engine.environment,
            stdin=listening.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as service:
            try:
                yield path
            finally:
                service.terminate()
