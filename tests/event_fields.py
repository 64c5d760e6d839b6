"""Writes down which fields stored events have: `python -m tests.event_fields`.

A line a field: `<tag> <path> required`, or `optional`. Lines are only ever added: what would keep
an older version from reading a newer one's events, or the other way round, is refused.
"""

from collections.abc import Iterator
from pathlib import Path

from msgspec import inspect

from domain.registry import TYPES

FILE = Path(__file__).parent / "golden" / "events" / "fields.txt"

type Fields = dict[str, str]


def fields_now() -> Fields:
    """Return the fields of all events, those of structs within them included."""
    return {
        f"{tag} {path}": "required" if required else "optional"
        for tag, type_ in TYPES.items()
        for path, required in _paths(inspect.type_info(type_), "", ())
    }


def fields_known() -> Fields:
    """Return those that were written down."""
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    return dict(line.rsplit(" ", 1) for line in lines)


def breaches(known: Fields, now: Fields) -> list[str]:
    """Return what the older or the newer version could not read of the other's events."""
    tags = {field.split()[0] for field in known}
    found = [
        f"{field}: removed or renamed, but old processes read it. Keep it; to reshape an event, add"
        " a tag and an upcaster in domain/registry.py."
        for field in known.keys() - now.keys()
    ]
    for field in known.keys() & now.keys():
        match known[field], now[field]:
            case "optional", "required":
                found.append(
                    f"{field}: now required, but stored events lack it. Give it a default."
                )
            case "required", "optional":
                found.append(
                    f"{field}: now optional, so it is not always written, but old processes require"
                    " it. Take its default away."
                )
            case _:
                pass
    found += [
        f"{field}: new and required, but stored events lack it. Give it a default."
        for field in now.keys() - known.keys()
        if now[field] == "required" and field.split()[0] in tags and not _within_new(field, known)
    ]
    return sorted(found)


def _within_new(field: str, known: Fields) -> bool:
    """Whether the field is in a struct that is new as a whole, which no stored event has."""
    outer = field.rpartition("/")[0]
    return bool(outer) and not any(each.startswith(f"{outer}/") for each in known)


def _paths(
    type_: inspect.Type, prefix: str, within: tuple[type, ...]
) -> Iterator[tuple[str, bool]]:
    match type_:
        case inspect.Metadata(type=inner):
            yield from _paths(inner, prefix, within)
        case inspect.StructType(cls=cls, fields=fields) if cls not in within:
            for field in fields:
                path = f"{prefix}{field.encode_name}"
                yield path, field.required
                yield from _paths(field.type, f"{path}/", (*within, cls))
        case inspect.UnionType(types=types):
            for each in types:
                yield from _paths(each, f"{prefix}{_tag(each)}", within)
        case inspect.DictType(value_type=value):
            yield from _paths(value, f"{prefix}*/", within)
        case inspect.CollectionType(item_type=item):
            yield from _paths(item, f"{prefix}*/", within)
        case inspect.TupleType(item_types=items):
            for number, item in enumerate(items):
                yield from _paths(item, f"{prefix}{number}/", within)
        case _:
            pass


def _tag(type_: inspect.Type) -> str:
    tag = getattr(type_, "tag", None)
    return "" if tag is None else f"({tag})/"


if __name__ == "__main__":
    KNOWN, NOW = fields_known(), fields_now()
    if FOUND := breaches(KNOWN, NOW):
        raise SystemExit("\n".join(FOUND))
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text("".join(f"{field} {kind}\n" for field, kind in sorted(NOW.items())))
