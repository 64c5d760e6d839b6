"""The golden files: a stored event of every tag there ever was, all fields filled, exact bytes.

When a field is added, the old file stays as it is, and a new one with all fields filled is sealed
below it, named for what it adds: `run.ended.v1.extra.json`.
"""

import re
from pathlib import Path

from domain.decider import Event
from domain.registry import SCHEMA_VERSION, decode

FOLDER = Path(__file__).parent / "golden"
SUMS = FOLDER / "SHA256SUMS"


def golden_path(tag: str, schema_version: int = SCHEMA_VERSION) -> Path:
    """Return the newest file of one tag: the one that was sealed last."""
    shapes = re.compile(rf"{re.escape(tag)}\.v{schema_version}(\.[a-z_]+)?\.json")
    sealed = [line.split()[1] for line in SUMS.read_text().splitlines()]
    names = [name for name in sealed if shapes.fullmatch(name)]
    return FOLDER / (names[-1] if names else f"{tag}.v{schema_version}.json")


def example(type_: type[Event]) -> Event:
    """Return the event of the type's golden file."""
    return decode(type_.tag(), SCHEMA_VERSION, golden_path(type_.tag()).read_bytes())
