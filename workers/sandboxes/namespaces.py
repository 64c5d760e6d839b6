"""Showing sandboxes what lies below a directory that only root may enter, such as root's home.

A sandbox's uid cannot pass a directory of mode 0700, not even for a read-only bind mount. A process
started by root can bind what is behind it to an open place, in a mount namespace of its own: nobody
else sees that, and it is gone with the process.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from workers.sandboxes.driver import SandboxUnsupported
from workers.sandboxes.kernel import (
    MS_BIND,
    MS_NODEV,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    mount,
)

PLACE = Path("/run/argosy-sandboxes")  # an empty directory on the host; a tmpfs in our namespace


class Paths(Struct, frozen=True):
    """Where sandboxes find the host's directories: pairs of the path here and the open one."""

    moved: tuple[tuple[str, str], ...] = ()

    def open_path(self, path: str) -> str:
        """The path that a sandbox's uid can reach, for one of this process."""
        real = os.path.realpath(path)
        for here, there in self.moved:
            if real == here or real.startswith(f"{here}/"):
                return there + real[len(here) :]
        return path


def prepare_mount_namespace(directories: Iterable[Path]) -> Paths:
    """Make `directories` reachable for every uid; those that are already cost nothing.

    For processes started by root; others get an empty Paths and keep their namespace. Call it
    first thing: a namespace belongs to a thread, so there may be only one yet. A directory must be
    readable by others itself (mode 0755); it is what lies above it that may be closed.
    Raises SandboxUnsupported if it is not, if there are more threads, or if the kernel refuses.
    """
    if os.geteuid() != 0:
        return Paths()
    closed = [real for path in directories if (real := path.resolve()) and not is_open(real)]
    if not closed:
        return Paths()
    for path in closed:
        if not _lets_in(path, 0o005 if path.is_dir() else 0o004):
            raise SandboxUnsupported(f"{path} must be readable by others (chmod o+rX).")
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208, names are enough
        raise SandboxUnsupported("The mount namespace must be made before any thread is started.")
    try:
        return _bind(closed)
    except OSError as error:
        raise SandboxUnsupported(
            f"{', '.join(map(str, closed))} cannot be shown to sandboxes ({error}). "
            "Move it to where every user may enter, such as /var/lib/argosy."
        ) from error


def is_open(path: Path) -> bool:
    """Whether a uid that owns nothing may enter and read `path`."""
    real = path.resolve()
    return _lets_in(real, 0o005 if real.is_dir() else 0o004) and all(
        _lets_in(parent, 0o001) for parent in real.parents
    )


def _lets_in(path: Path, bits: int) -> bool:
    return path.stat().st_mode & bits == bits


def _bind(closed: list[Path]) -> Paths:
    PLACE.mkdir(mode=0o755, exist_ok=True)
    os.unshare(os.CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount("argosy", str(PLACE), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k")
    moved: list[tuple[str, str]] = []
    for number, path in enumerate(closed):
        place = PLACE / str(number)
        place.mkdir()
        mount(str(path), str(place), "", MS_BIND | MS_REC)
        moved.append((str(path), str(place)))
    return Paths(tuple(moved))
