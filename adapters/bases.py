"""Which base environment a source is checked and judged against, before a worker sees it."""

import subprocess
import sys
from functools import cache
from pathlib import Path

from adapters.base_locks import base_names, read_lock
from domain.execution import Base

SYSTEM_PYTHON = Path("/usr/bin/python3")
OLDEST = (3, 11)
_VERSION = "import sys; print(sys.version_info[0], sys.version_info[1])"


@cache
def find_base() -> Base:
    """Return the base "python": the distribution's Python if new enough, else the running one.

    The sandboxes of this machine choose alike. It has no packages of its own; on top of it are
    the bases of frameworks, as their lock files say.
    """
    major, minor = _system_version() or sys.version_info[:2]
    python = f"{major}.{minor}"
    frameworks = tuple(
        Base(
            name=name,
            python=python,
            packages={locked.name: locked.version for locked in read_lock(name, python)},
        )
        for name in base_names()
    )
    return Base(name="python", python=python, frameworks=frameworks)


def python_version(base: Base) -> tuple[int, int]:
    """Return a base's Python version as numbers."""
    major, minor = base.python.split(".")[:2]
    return int(major), int(minor)


def _system_version() -> tuple[int, int] | None:
    if not SYSTEM_PYTHON.exists():
        return None
    answer = subprocess.run(  # noqa: S603  # a fixed path
        [SYSTEM_PYTHON, "-I", "-S", "-c", _VERSION],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    if answer.returncode != 0:
        return None
    major, minor = map(int, answer.stdout.split())
    return (major, minor) if (major, minor) >= OLDEST else None
