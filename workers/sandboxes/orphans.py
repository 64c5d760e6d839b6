"""Destroying what is left of sandboxes whose owner died.

A sandbox normally dies with its owner, by the kernel's hand; its control groups stay. This finds
both, and also a sandbox that outlived its owner all the same.
"""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from workers.sandboxes.groups import Cgroups, remove
from workers.sandboxes.owners import Owner


async def sweep_orphans(cgroups: Cgroups | None) -> list[str]:
    """Destroy every sandbox of this machine whose owner is dead; return their names, sorted.

    An ordinary user's sweep sees that user's sandboxes only. Safe beside any number of living
    owners and other sweeps.
    """
    found = set(await asyncio.to_thread(_kill_processes))
    if cgroups is not None:
        for name in filter(_is_orphan, cgroups.names()):
            found.add(name)
            group = cgroups.find(name)
            group.kill()
            with contextlib.suppress(TimeoutError):  # the next sweep tries again
                await remove(group)
    return sorted(found)


def _kill_processes() -> list[str]:
    killed: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (name := _orphan(entry)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(entry.name), signal.SIGKILL)
            killed.append(name)
    return killed


def _orphan(process: Path) -> str | None:
    """The sandbox's name if this is a bubblewrap of one whose owner is dead."""
    try:
        words = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        if (process / "exe").readlink().name != "bwrap":
            return None
    except OSError:  # gone meanwhile, or another user's
        return None
    name = words[-1].decode("ascii", "replace")
    return name if _is_orphan(name) else None


def _is_orphan(name: str) -> bool:
    owner = Owner.of(name)
    return owner is not None and owner.is_dead()
