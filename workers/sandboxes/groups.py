"""A sandbox's control group: what both back ends promise, and what they share."""

import asyncio
import contextlib
import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

from domain.limits import Limits
from workers.sandboxes.driver import SandboxUnsupported
from workers.sandboxes.owners import NAME

OUR_PROCESSES = 2  # bubblewrap outside, and pid 1 inside
PERIOD_US = 100_000
FREEZE_SECONDS = 5.0
REMOVE_SECONDS = 5.0

type Kind = Literal["v2", "hybrid"]


class Usage(Struct, frozen=True):
    """What a group used until now. None where the kernel does not count."""

    peak_memory_mb: float | None
    cpu_seconds: float | None
    memory_kills: int


class Group(Protocol):
    """One sandbox's directories, one for each hierarchy."""

    name: str

    @property
    def directories(self) -> tuple[Path, ...]: ...

    def make(self, limits: Limits) -> None:
        """Create the directories and write the limits. Raises OSError; then call `remove`."""
        ...

    def around_start(self) -> AbstractContextManager[None]:
        """What the calling thread starts in this block is in the group, if that can be had."""
        ...

    def admit(self, pids: list[int]) -> None:
        """Move processes in; what they start from now on is in, too.

        The kernel may take 20 ms for the first one after a pause, so do not call it in a loop's
        thread. Raises OSError.
        """
        ...

    async def freeze(self) -> None:
        """Return when nothing in it runs. Raises TimeoutError if the kernel does not get there."""
        ...

    def thaw(self) -> None: ...

    def kill(self) -> None:
        """Kill all that is in it, frozen or not. Nothing happens if it is gone."""
        ...

    def usage(self) -> Usage: ...


class Cgroups(Protocol):
    """Where this process may make groups."""

    kind: Kind

    def find(self, name: str) -> Group:
        """The group of that name, made or not."""
        ...

    def names(self) -> set[str]:
        """Of every group that belongs to a sandbox, whoever owns it."""
        ...


def make_group(cgroups: Cgroups, name: str, limits: Limits) -> Group:
    """A new group under `limits`. Raises SandboxUnsupported, having left nothing."""
    group = cgroups.find(name)
    try:
        group.make(limits)
    except OSError as error:
        try_to_remove(group)
        raise SandboxUnsupported(f"No control group could be made: {error}.") from error
    return group


def holds(group: Group, pid: int) -> bool:
    """Whether a process is in each of the group's directories. Raises FileNotFoundError."""
    memberships = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return sum(line.endswith(f"/{group.name}") for line in memberships) == len(group.directories)


async def remove(group: Group) -> None:
    """Remove the directories. A group stays busy for some ms after its last process is gone.

    Raises TimeoutError if something stays in it for 5 s; the next sweep tries again.
    """
    pause = 0.001
    async with asyncio.timeout(REMOVE_SECONDS):
        while not try_to_remove(group):
            await asyncio.sleep(pause)
            pause = min(0.05, pause * 2)


def try_to_remove(group: Group) -> bool:
    """Remove what can be removed now; True if nothing of it is left."""
    left = False
    for directory in group.directories:
        try:
            directory.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            left = True
    return not left


async def freeze_core(directory: Path) -> None:
    """Freeze a directory of version 2, and wait for it."""
    write(directory / "cgroup.freeze", 1)
    async with asyncio.timeout(FREEZE_SECONDS):
        while events(directory / "cgroup.events")["frozen"] == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.001)  # the kernel's files cannot be awaited


def kill_members(directory: Path) -> None:
    """Kill what is in a directory, for kernels and versions without `cgroup.kill`."""
    with contextlib.suppress(FileNotFoundError):
        for pid in words(directory / "cgroup.procs"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def quota_us(cpu: float) -> int:
    """Microseconds of each PERIOD_US; the kernel takes no less than 1000."""
    return max(1000, round(cpu * PERIOD_US))


def sandbox_names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir() if NAME.fullmatch(entry.name)}


def write(path: Path, value: object) -> None:
    path.write_text(str(value))


def write_if_there(path: Path, value: object) -> bool:
    try:
        write(path, value)
    except (FileNotFoundError, PermissionError):  # what opening a missing file of cgroupfs says
        return False
    return True


def number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return None


def events(path: Path) -> dict[str, int]:
    """The `name number` lines of a file."""
    lines = path.read_text().splitlines()
    return {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}


def words(path: Path) -> set[str]:
    return set(path.read_text().split())


def megabytes(size: int | None) -> float | None:
    return None if size is None else round(size / (1 << 20), 1)
