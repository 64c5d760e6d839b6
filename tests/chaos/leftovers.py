"""What a server may leave on its machine, and which of it is ours."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil
from msgspec import Struct

from tests.chaos.children import descendants
from tests.chaos.installation import Installation
from workers.sandboxes.owners import Owner

CGROUPS = Path("/sys/fs/cgroup")


class Machine(Struct, frozen=True):
    """What is on this machine that a server might have left."""

    mounts: frozenset[str]
    sockets: frozenset[str]

    @classmethod
    def now(cls) -> "Machine":
        """Look."""
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        sockets = Path("/proc/net/unix").read_text().splitlines()[1:]
        return cls(
            frozenset(line.split()[4] for line in mounts),
            frozenset(words[7] for line in sockets if len(words := line.split()) > 7),
        )


def leftovers(installation: Installation, before: Machine, others: Iterable[int]) -> list[str]:
    """Return what the installation has left, after a normal stop, and should not have.

    before: the machine when nothing was started yet. others: processes that may live on, with all
    below them.
    """
    now = Machine.now()
    known = installation.orphans.known
    spared = {os.getpid()}
    for pid in others:
        spared |= {pid, *(each.pid for each in psutil.Process(pid).children(recursive=True))}
    return [
        *(f"process {line}" for line in _processes(spared)),
        *(f"mount {place}" for place in sorted(now.mounts - before.mounts)),
        *(f"control group {path}" for path in groups_of(known)),
        *(f"socket {path}" for path in sorted(now.sockets) if _is_ours(path, installation)),
        *(f"temporary {path}" for path in _scratch(installation)),
    ]


def groups_of(pids: set[int]) -> list[str]:
    """Return the control groups of sandboxes that one of these processes started."""
    found: list[str] = []
    for folder, inner, _ in os.walk(CGROUPS):
        for name in inner:
            owner = Owner.of(name)
            if owner is not None and owner.pid in pids:
                found.append(str(Path(folder, name)))
    return sorted(found)


def _processes(spared: set[int]) -> list[str]:
    found: list[str] = []
    for process in descendants():
        with suppress(psutil.Error):
            if process.pid not in spared and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
    return found


def _is_ours(path: str, installation: Installation) -> bool:
    return path.startswith(str(installation.root))


def _scratch(installation: Installation) -> list[Path]:
    """Return what is in folders that are empty unless somebody works."""
    folders = [installation.temporary, installation.data / "results"]
    folders += [each for each in installation.data.rglob("scratch") if each.is_dir()]
    inside = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    sockets = [path for path in installation.root.rglob("*") if path.is_socket()]
    return sorted([*inside, *sockets])
