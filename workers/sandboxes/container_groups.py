"""A container's control group: the engine makes and removes it, we make sure of it and read it."""

from pathlib import Path

from domain.limits import Limits
from workers.sandboxes.cgroups import ROOT
from workers.sandboxes.container_engine import OUR_PROCESSES
from workers.sandboxes.driver import SandboxUnsupported
from workers.sandboxes.groups import PERIOD_US, Usage, quota_us, write_if_there
from workers.sandboxes.groups_hybrid import CONTROLLERS, CORE, HybridGroup
from workers.sandboxes.groups_v2 import V2Group

NOTHING_KNOWN = Usage(peak_memory_mb=None, cpu_seconds=None, memory_kills=0)

type ContainerGroup = HybridGroup | V2Group


def find_group(pid: int, limits: Limits) -> ContainerGroup:
    """The group of a container's pid 1. Raises SandboxUnsupported unless it holds the limits."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    paths = {
        controller: path
        for _, names, path in (line.split(":", 2) for line in lines)
        for controller in names.split(",")
    }
    v2 = (ROOT / "cgroup.controllers").exists()
    try:
        at = {name: _directory(name, paths, v2=v2) for name in CONTROLLERS}
        held = _v2(at["memory"], limits) if v2 else _v1(at, limits)
    except (OSError, KeyError, ValueError) as error:
        words = f"The container's control groups cannot be read here: {error}."
        raise SandboxUnsupported(words) from error
    if not held:
        raise SandboxUnsupported("The container engine does not hold the limits it was given.")
    name = at["memory"].name
    if v2:
        # A program is ended whole, not the part of it that was unlucky.
        write_if_there(at["memory"] / "memory.oom.group", 1)
        return V2Group(name, at["memory"].parent)
    # What the engine itself used to start it is not the program's.
    write_if_there(at["memory"] / "memory.max_usage_in_bytes", 0)
    core = ROOT / CORE / paths.get("", "").lstrip("/")
    if core.name != name or not (core / "cgroup.freeze").exists():
        raise SandboxUnsupported("The container has no control group that could be paused.")
    return HybridGroup(name, {c: each.parent for c, each in at.items()}, core.parent)


def usage_of(group: ContainerGroup | None) -> Usage:
    """What it used, as long as the engine has not removed it."""
    try:
        return NOTHING_KNOWN if group is None else group.usage()
    except (OSError, KeyError):
        return NOTHING_KNOWN


def _directory(controller: str, paths: dict[str, str], *, v2: bool) -> Path:
    if v2:
        return ROOT / paths[""].lstrip("/")
    return (ROOT / controller).resolve() / paths[controller].lstrip("/")


def _v1(at: dict[str, Path], limits: Limits) -> bool:
    quota, period = (int(_read(at["cpu"] / f"cpu.cfs_{n}_us")) for n in ("quota", "period"))
    return (
        int(_read(at["memory"] / "memory.limit_in_bytes")) <= limits.memory_mb << 20
        and int(_read(at["pids"] / "pids.max")) <= limits.pids + OUR_PROCESSES
        and 0 < quota <= quota_us(limits.cpu) * period / PERIOD_US
    )


def _v2(at: Path, limits: Limits) -> bool:
    quota, period = map(int, _read(at / "cpu.max").split())
    return (
        int(_read(at / "memory.max")) <= limits.memory_mb << 20
        and int(_read(at / "pids.max")) <= limits.pids + OUR_PROCESSES
        and 0 < quota <= quota_us(limits.cpu) * period / PERIOD_US
    )


def _read(path: Path) -> str:
    return path.read_text().strip()
