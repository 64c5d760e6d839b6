"""The harnesses there are, by name."""

from domain.errors import NotFound
from workers.harnesses.harness import Harness
from workers.harnesses.image import Image
from workers.harnesses.native import Native
from workers.harnesses.source import Source

_ALL: tuple[Harness, ...] = (Source(), Native(), Image())

HARNESSES: dict[str, Harness] = {each.name: each for each in _ALL}


def find_harness(name: str) -> Harness:
    """Return a harness. Raises NotFound, naming those there are."""
    if name not in HARNESSES:
        known = ", ".join(sorted(HARNESSES))
        raise NotFound(f"There is no harness {name!r}; there are {known}.", harness=name)
    return HARNESSES[name]
