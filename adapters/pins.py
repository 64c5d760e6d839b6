"""Reading requirements that are pinned and hashed, as uv writes them."""

import re
from collections.abc import Mapping

from msgspec import Struct
from packaging.markers import Marker

from domain.requirements import normalised

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")
_MARKER = re.compile(r"\s;\s*(.+?)\s*(?:--hash|$)")
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


class Pinned(Struct, frozen=True):
    """One package: its normalised name, its version, and the digests of its files, in order."""

    name: str
    version: str
    hashes: tuple[str, ...]

    @property
    def text(self) -> str:
        """It as a requirement with hashes, the same for equal ones, with a line end."""
        hashes = "".join(f" \\\n    --hash={digest}" for digest in self.hashes)
        return f"{self.name}=={self.version}{hashes}\n"


def read_pins(text: str, environment: Mapping[str, str] | None = None) -> tuple[Pinned, ...]:
    """Return the packages by name in order.

    environment: what markers are judged by; without it, all that is pinned is meant.
    """
    found: list[Pinned] = []
    for entry in text.replace("\\\n", " ").splitlines():
        match = _PINNED.match(entry)
        if match and (environment is None or _is_meant(entry, environment)):
            hashes = tuple(sorted(_HASH.findall(entry)))
            found.append(Pinned(normalised(match[1]), match[2], hashes))
    return tuple(sorted(found, key=lambda pinned: pinned.name))


def _is_meant(entry: str, environment: Mapping[str, str]) -> bool:
    marker = _MARKER.search(entry)
    return marker is None or Marker(marker[1]).evaluate(dict(environment))
