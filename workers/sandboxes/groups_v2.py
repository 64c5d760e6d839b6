"""Control groups of version 2: one directory a sandbox, as on today's servers."""

import contextlib
import errno
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from domain.limits import Limits
from workers.sandboxes.groups import (
    OUR_PROCESSES,
    PERIOD_US,
    Kind,
    Usage,
    events,
    freeze_core,
    kill_members,
    megabytes,
    number,
    quota_us,
    sandbox_names,
    words,
    write,
    write_if_there,
)

CONTROLLERS = ("memory", "pids", "cpu")
MAX_PASSES = 50
OWNERS_LEAF = "argosy-owner"  # where the processes of a delegated group move to make room


class V2Group:
    """See `groups.Group`."""

    def __init__(self, name: str, base: Path) -> None:
        self.name = name
        self._at = base / name
        self.directories = (self._at,)

    def make(self, limits: Limits) -> None:
        self._at.mkdir()
        write(self._at / "memory.max", limits.memory_mb << 20)
        write(self._at / "memory.oom.group", 1)
        write_if_there(self._at / "memory.swap.max", 0)
        write(self._at / "pids.max", limits.pids + OUR_PROCESSES)
        write(self._at / "cpu.max", f"{quota_us(limits.cpu)} {PERIOD_US}")

    def around_start(self) -> AbstractContextManager[None]:
        return nullcontext()  # a thread cannot be in another group than its process

    def admit(self, pids: list[int]) -> None:
        for pid in pids:
            write(self._at / "cgroup.procs", pid)

    async def freeze(self) -> None:
        await freeze_core(self._at)

    def thaw(self) -> None:
        write(self._at / "cgroup.freeze", 0)

    def kill(self) -> None:
        if not write_if_there(self._at / "cgroup.kill", 1):
            kill_members(self._at)

    def usage(self) -> Usage:
        return Usage(
            peak_memory_mb=megabytes(number(self._at / "memory.peak")),
            cpu_seconds=events(self._at / "cpu.stat")["usage_usec"] / 1e6,
            memory_kills=events(self._at / "memory.events").get("oom_kill", 0),
        )


class V2Cgroups:
    """See `groups.Cgroups`."""

    kind: Kind = "v2"

    def __init__(self, base: Path) -> None:
        self.base = base

    def find(self, name: str) -> V2Group:
        return V2Group(name, self.base)

    def names(self) -> set[str]:
        return sandbox_names(self.base)


def find_v2(root: Path, own: str) -> V2Cgroups | None:
    """Groups below our own (the path `own`) if it was handed to us, else for root at the top.

    May move the processes of our group into a leaf of it: version 2 demands that before it hands
    controllers to children. None if nothing was handed to us.
    """
    base = root / own.strip("/")
    if base.name == OWNERS_LEAF:
        base = base.parent
    ours = os.access(base, os.W_OK) and os.access(base / "cgroup.procs", os.W_OK)
    if os.geteuid() == 0 and not (ours and _marked_as_delegated(base)):
        base, ours = root, True
    if not ours or not set(CONTROLLERS) <= words(base / "cgroup.controllers"):
        return None
    try:
        _hand_down_controllers(base)
    except OSError:
        return None
    return V2Cgroups(base)


def _marked_as_delegated(base: Path) -> bool:
    """Whether systemd says so (`Delegate=yes`). That root may write there proves nothing."""
    try:
        marks = set(os.listxattr(base))
    except OSError:
        return False
    return bool(marks & {"user.delegate", "trusted.delegate"})


def _hand_down_controllers(base: Path) -> None:
    """Raises OSError if they cannot be had."""
    if set(CONTROLLERS) <= words(base / "cgroup.subtree_control"):
        return
    request = " ".join(f"+{controller}" for controller in CONTROLLERS)
    for _ in range(MAX_PASSES):
        try:
            write(base / "cgroup.subtree_control", request)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _make_room(base)
        else:
            return
    raise BlockingIOError(f"processes are started in {base} faster than they can be moved")


def _make_room(base: Path) -> None:
    """Move a group's processes into a leaf of it: it may not have them and controllers, too."""
    leaf = base / OWNERS_LEAF
    leaf.mkdir(exist_ok=True)
    for pid in words(base / "cgroup.procs"):
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            write(leaf / "cgroup.procs", pid)
