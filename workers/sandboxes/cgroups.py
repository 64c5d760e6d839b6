"""Which control groups this machine offers to a process.

A machine that lets us make neither kind has none; `detect` then gives None, and limits hold only
for single processes.
"""

from pathlib import Path

from workers.sandboxes.groups import Cgroups
from workers.sandboxes.groups_hybrid import find_hybrid
from workers.sandboxes.groups_v2 import find_v2

ROOT = Path("/sys/fs/cgroup")


def detect() -> Cgroups | None:
    """The back end this process may use. See find_v2 for what it may change."""
    if (ROOT / "cgroup.controllers").exists():
        return find_v2(ROOT, _own_group())
    if (ROOT / "unified").is_dir():
        return find_hybrid(ROOT)
    return None


def _own_group() -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::")
    return "/"
