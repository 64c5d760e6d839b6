"""Which control groups this machine offers to a process.

A machine that lets us make neither kind has none; `detect` then gives None, and limits hold only
for single processes.
"""

from pathlib import Path
from typing import Literal

from workers.sandboxes.driver import SandboxUnsupported
from workers.sandboxes.groups import Cgroups
from workers.sandboxes.groups_hybrid import find_hybrid
from workers.sandboxes.groups_v2 import find_v2

__all__ = ["Cgroups", "detect"]

ROOT = Path("/sys/fs/cgroup")

type Wanted = Literal["auto", "v2", "hybrid", "none"]


def detect(wanted: Wanted = "auto") -> Cgroups | None:
    """The back end this process may use. See find_v2 for what it may change.

    Raises SandboxUnsupported if `wanted` is a back end that this machine does not offer.
    """
    if wanted == "none":
        return None
    found = _find()
    if wanted != "auto" and (found is None or found.kind != wanted):
        offered = found.kind if found else "none"
        raise SandboxUnsupported(f"Control groups {wanted} are wanted; here are {offered}.")
    return found


def _find() -> Cgroups | None:
    if (ROOT / "cgroup.controllers").exists():
        return find_v2(ROOT, _own_group())
    return find_hybrid(ROOT)


def _own_group() -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::")
    return "/"
