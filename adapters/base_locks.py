"""The lock files of the base environments that have packages: names, versions, hashes.

One for all Pythons and platforms. `python -m tests.base_locks` makes them anew.
"""

import platform
import re
from pathlib import Path

from msgspec import Struct
from packaging.markers import Marker

FOLDER = Path(__file__).parent / "base_locks"

_PINNED = re.compile(r"^([a-z0-9][a-z0-9-]*)==([^\s;\\]+)(?: ; ([^\\]+?))? *(?=--|$)")
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


class Locked(Struct, frozen=True):
    """One package of a base: its normalised name, version, and the digests of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]


def base_names() -> list[str]:
    """Return the names of the bases that have packages, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.lock"))


def read_lock(name: str, python: str) -> tuple[Locked, ...]:
    """Return what a base has on this machine for a Python like "3.11", by name in order."""
    here = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_machine": platform.machine(),
    }
    found: list[Locked] = []
    text = (FOLDER / f"{name}.lock").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        match = _PINNED.match(line)
        if match and (not match[3] or Marker(match[3]).evaluate(here)):
            hashes = tuple(sorted(_HASH.findall(line)))
            found.append(Locked(match[1], match[2], hashes))
    return tuple(sorted(found, key=lambda locked: locked.name))
