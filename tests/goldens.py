"""The golden files: a stored event of every tag there ever was, all fields filled, exact bytes."""

from pathlib import Path

from domain.decider import Event
from domain.registry import SCHEMA_VERSION, decode

FOLDER = Path(__file__).parent / "golden"


def golden_path(tag: str, schema_version: int = SCHEMA_VERSION) -> Path:
    """Return the file of one tag."""
    return FOLDER / f"{tag}.v{schema_version}.json"


def example(type_: type[Event]) -> Event:
    """Return the event of the type's golden file."""
    return decode(type_.tag(), SCHEMA_VERSION, golden_path(type_.tag()).read_bytes())
