"""Control groups: limits for a whole sandbox, and the ways to freeze, kill and measure it.

Two back ends behind one interface: `v2`, and `hybrid` (version 1 controllers, with version 2 beside
them only to freeze and kill). A machine that lets us make neither has none; `detect` then is None.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from msgspec import Struct

from domain.limits import Limits
from workers.sandboxes.driver import SandboxUnsupported
from workers.sandboxes.owners import NAME

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids", "cpu")
OWNERS_LEAF = "argosy-owner"  # where the processes of a delegated cgroup move to make room
PERIOD_US = 100_000
FREEZE_SECONDS = 5.0
REMOVE_SECONDS = 5.0

type Kind = Literal["v2", "hybrid"]


class Usage(Struct, frozen=True):
    """What a group used until now. None where the kernel does not count."""

    peak_memory_mb: float | None
    cpu_seconds: float | None
    memory_kills: int


class Group:
    """One sandbox's directories, one for each hierarchy. `core` is where freeze and kill are."""

    def __init__(self, kind: Kind, name: str, roots: Mapping[str, Path]) -> None:
        self.name = name
        self._kind = kind
        self._at = {controller: root / name for controller, root in roots.items()}
        self._directories = tuple(dict.fromkeys(self._at.values()))

    def make(self, limits: Limits) -> None:
        """Create the directories and write the limits. Raises OSError; then call `remove`."""
        for directory in self._directories:
            directory.mkdir()
        memory = limits.memory_mb << 20
        quota = max(1000, round(limits.cpu * PERIOD_US))
        if self._kind == "v2":
            self._write("memory", "memory.max", memory)
            self._write("memory", "memory.oom.group", 1)
            self._write_if_there("memory", "memory.swap.max", 0)
            self._write("pids", "pids.max", limits.pids)
            self._write("cpu", "cpu.max", f"{quota} {PERIOD_US}")
        else:
            self._write("memory", "memory.limit_in_bytes", memory)
            if not self._write_if_there("memory", "memory.memsw.limit_in_bytes", memory):
                self._write("memory", "memory.swappiness", 0)
            self._write("pids", "pids.max", limits.pids)
            self._write("cpu", "cpu.cfs_period_us", PERIOD_US)
            self._write("cpu", "cpu.cfs_quota_us", quota)

    def admit(self, pid: int) -> None:
        """Move a process in; what it starts from now on is in, too. Raises OSError."""
        for directory in self._directories:
            (directory / "cgroup.procs").write_text(str(pid))

    async def freeze(self) -> None:
        """Return when nothing in it runs. Raises TimeoutError if the kernel does not get there."""
        self._write("core", "cgroup.freeze", 1)
        async with asyncio.timeout(FREEZE_SECONDS):
            while self._events("core", "cgroup.events").get("frozen") != 1:  # noqa: ASYNC110, kernel files cannot be awaited
                await asyncio.sleep(0.001)

    def thaw(self) -> None:
        self._write("core", "cgroup.freeze", 0)

    def kill(self) -> None:
        """Kill all that is in it at once, frozen or not. Nothing happens if it is gone."""
        try:
            self._write("core", "cgroup.kill", 1)
        except FileNotFoundError:
            return

    def usage(self) -> Usage:
        core = self._events("core", "cpu.stat")
        if self._kind == "v2":
            peak = self._number("memory.peak")
            kills = self._events("memory", "memory.events").get("oom_kill", 0)
        else:
            peak = self._number("memory.max_usage_in_bytes")
            kills = self._events("memory", "memory.oom_control").get("oom_kill", 0)
        return Usage(
            peak_memory_mb=None if peak is None else round(peak / (1 << 20), 1),
            cpu_seconds=core["usage_usec"] / 1e6 if "usage_usec" in core else None,
            memory_kills=kills,
        )

    async def remove(self) -> None:
        """Remove the directories. A group stays busy for some ms after its last process is gone.

        Raises TimeoutError if something stays in it for 5 s; the next sweep tries again.
        """
        pause = 0.001
        async with asyncio.timeout(REMOVE_SECONDS):
            while not self.try_to_remove():
                await asyncio.sleep(pause)
                pause = min(0.05, pause * 2)

    def try_to_remove(self) -> bool:
        """Remove what can be removed now; True if nothing of it is left."""
        left = False
        for directory in self._directories:
            try:
                directory.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                left = True
        return not left

    def _write(self, controller: str, file: str, value: object) -> None:
        (self._at[controller] / file).write_text(str(value))

    def _write_if_there(self, controller: str, file: str, value: object) -> bool:
        try:
            self._write(controller, file, value)
        except (FileNotFoundError, PermissionError):  # what opening a missing file of cgroupfs says
            return False
        return True

    def _number(self, file: str) -> int | None:
        try:
            return int((self._at["memory"] / file).read_text())
        except FileNotFoundError:
            return None

    def _events(self, controller: str, file: str) -> dict[str, int]:
        """The flat `name number` lines of a file."""
        lines = (self._at[controller] / file).read_text().splitlines()
        return {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}


class Cgroups(Struct, frozen=True):
    """Where this process may make groups: a directory for each controller and for `core`."""

    kind: Kind
    roots: Mapping[str, Path]

    def make(self, name: str, limits: Limits) -> Group:
        """A new group under `limits`. Raises SandboxUnsupported, having left nothing."""
        group = Group(self.kind, name, self.roots)
        try:
            group.make(limits)
        except OSError as error:
            group.try_to_remove()
            raise SandboxUnsupported(f"No control group could be made: {error}.") from error
        return group

    def find(self) -> list[Group]:
        """Every group that is named as a sandbox, whoever owns it."""
        names = {
            entry.name
            for root in set(self.roots.values())
            for entry in root.iterdir()
            if NAME.fullmatch(entry.name)
        }
        return [Group(self.kind, name, self.roots) for name in sorted(names)]


def detect(root: Path = CGROUPS, own: str | None = None) -> Cgroups | None:
    """The back end this process may use, or None. `own` is its own cgroup, `/`-rooted.

    May move the processes of a delegated cgroup into a leaf of it, as version 2 demands before
    controllers can be handed to children.
    """
    if (root / "cgroup.controllers").exists():
        base = _delegated(root, _own_cgroup() if own is None else own)
        return Cgroups("v2", dict.fromkeys((*CONTROLLERS, "core"), base)) if base else None
    roots = {controller: root / controller for controller in CONTROLLERS}
    roots["core"] = root / "unified"
    usable = (root / "unified/cgroup.controllers").exists() and all(
        os.access(path, os.W_OK) for path in roots.values()
    )
    return Cgroups("hybrid", roots) if usable else None


def _own_cgroup() -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::")
    return "/"


def _delegated(root: Path, own: str) -> Path | None:
    """The directory to make groups in: our own if it was handed to us, else for root the top."""
    base = root / own.strip("/")
    if base.name == OWNERS_LEAF:
        base = base.parent
    ours = os.access(base, os.W_OK) and os.access(base / "cgroup.procs", os.W_OK)
    if os.geteuid() == 0 and not (ours and _marked_as_delegated(base)):
        base, ours = root, True
    if not ours or not set(CONTROLLERS) <= _words(base / "cgroup.controllers"):
        return None
    try:
        _hand_down_controllers(base)
    except OSError:
        return None
    return base


def _marked_as_delegated(base: Path) -> bool:
    """Whether systemd says so (`Delegate=yes`). That root may write there proves nothing."""
    try:
        marks = set(os.listxattr(base))
    except OSError:
        return False
    return bool(marks & {"user.delegate", "trusted.delegate"})


def _hand_down_controllers(base: Path) -> None:
    if set(CONTROLLERS) <= _words(base / "cgroup.subtree_control"):
        return
    request = " ".join(f"+{controller}" for controller in CONTROLLERS)
    try:
        (base / "cgroup.subtree_control").write_text(request)
    except OSError:  # busy: it has processes of its own
        leaf = base / OWNERS_LEAF
        leaf.mkdir(exist_ok=True)
        for pid in _words(base / "cgroup.procs"):
            (leaf / "cgroup.procs").write_text(pid)
        (base / "cgroup.subtree_control").write_text(request)


def _words(path: Path) -> set[str]:
    return set(path.read_text().split())
