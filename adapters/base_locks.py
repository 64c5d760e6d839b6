"""The lock files of the base environments that have packages: names, versions, hashes.

One for all Pythons and platforms. `python -m tests.base_locks` makes them anew.
"""

import platform
from functools import cache
from pathlib import Path

from adapters.pins import Pinned, read_pins

FOLDER = Path(__file__).parent / "base_locks"


def base_names() -> list[str]:
    """Return the names of the bases that have packages, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.lock"))


@cache
def read_lock(name: str, python: str) -> tuple[Pinned, ...]:
    """Return what a base has on this machine for a Python like "3.11", by name in order."""
    here = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_machine": platform.machine(),
    }
    return read_pins((FOLDER / f"{name}.lock").read_text(), here)
