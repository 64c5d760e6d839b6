"""Control groups of version 1, a directory for each controller, with version 2 beside them.

A sandbox is started in its groups by letting the starting thread visit them, because moving a
process costs a pause of the whole kernel (8 to 20 ms on an idle machine). Version 2 has no threads
in foreign groups, so its directory, needed only to freeze, is made by the first `freeze`.
"""

import asyncio
import contextlib
import os
from collections.abc import Generator
from contextlib import contextmanager
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

CONTROLLERS = ("memory", "pids", "cpu", "cpuacct")
CORE = "unified"
THIS_THREAD = 0
MAX_PASSES = 50


class HybridGroup:
    """See `groups.Group`."""

    def __init__(self, name: str, roots: dict[str, Path], core: Path) -> None:
        self.name = name
        self._roots = roots
        self._at = {controller: root / name for controller, root in roots.items()}
        self._core = core / name
        self._limited = tuple(dict.fromkeys(self._at.values()))

    @property
    def directories(self) -> tuple[Path, ...]:
        return (*self._limited, self._core) if self._core.is_dir() else self._limited

    def make(self, limits: Limits) -> None:
        for directory in self._limited:
            directory.mkdir()
        memory = limits.memory_mb << 20
        write(self._at["memory"] / "memory.limit_in_bytes", memory)
        if not write_if_there(self._at["memory"] / "memory.memsw.limit_in_bytes", memory):
            write(self._at["memory"] / "memory.swappiness", 0)
        write(self._at["pids"] / "pids.max", limits.pids + OUR_PROCESSES)
        write(self._at["cpu"] / "cpu.cfs_period_us", PERIOD_US)
        write(self._at["cpu"] / "cpu.cfs_quota_us", quota_us(limits.cpu))

    @contextmanager
    def around_start(self) -> Generator[None]:
        home = _groups_of_this_thread()
        entered: list[Path] = []
        try:
            for controller, directory in self._at.items():
                entered.append(self._roots[controller] / home[controller] / "tasks")
                write(directory / "tasks", THIS_THREAD)
            yield
        finally:
            for tasks in entered:
                write(tasks, THIS_THREAD)

    def admit(self, pids: list[int]) -> None:
        for directory in self.directories:
            for pid in pids:
                write(directory / "cgroup.procs", pid)

    async def freeze(self) -> None:
        if not self._core.is_dir():
            await asyncio.to_thread(self._fill_core)
        await freeze_core(self._core)

    def thaw(self) -> None:
        write(self._core / "cgroup.freeze", 0)

    def kill(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.thaw()
        kill_members(self._at["pids"])

    def usage(self) -> Usage:
        nanoseconds = number(self._at["cpuacct"] / "cpuacct.usage")
        kills = events(self._at["memory"] / "memory.oom_control").get("oom_kill", 0)
        return Usage(
            peak_memory_mb=megabytes(number(self._at["memory"] / "memory.max_usage_in_bytes")),
            cpu_seconds=None if nanoseconds is None else nanoseconds / 1e9,
            memory_kills=kills,
        )

    def _fill_core(self) -> None:
        """Move all members in, again and again until none was started outside meanwhile."""
        self._core.mkdir(exist_ok=True)
        for _ in range(MAX_PASSES):
            outside = words(self._at["pids"] / "cgroup.procs") - words(self._core / "cgroup.procs")
            if not outside:
                return
            for pid in outside:
                with contextlib.suppress(ProcessLookupError):
                    write(self._core / "cgroup.procs", pid)
        raise TimeoutError("the sandbox starts processes faster than they can be frozen")


class HybridCgroups:
    """See `groups.Cgroups`."""

    kind: Kind = "hybrid"

    def __init__(self, roots: dict[str, Path], core: Path) -> None:
        self.roots = roots
        self.core = core

    def find(self, name: str) -> HybridGroup:
        return HybridGroup(name, self.roots, self.core)

    def names(self) -> set[str]:
        return set[str]().union(*map(sandbox_names, {*self.roots.values(), self.core}))


def find_hybrid(root: Path) -> HybridCgroups | None:
    """The top of each hierarchy, if all of them are there and we may write to them."""
    roots = {controller: (root / controller).resolve() for controller in CONTROLLERS}
    core = root / CORE
    if not (core / "cgroup.controllers").exists():
        return None
    if not all(os.access(path / "tasks", os.W_OK) for path in roots.values()):
        return None
    home = _groups_of_this_thread()
    known = all(c in home and (roots[c] / home[c] / "tasks").exists() for c in CONTROLLERS)
    return HybridCgroups(roots, core) if known and os.access(core, os.W_OK) else None


def _groups_of_this_thread() -> dict[str, str]:
    """By controller, the path of its group, without the leading slash."""
    homes: dict[str, str] = {}
    for line in Path("/proc/thread-self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        homes |= dict.fromkeys(controllers.split(","), path.lstrip("/"))
    return homes
