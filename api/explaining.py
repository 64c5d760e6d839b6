"""What is wrong with a body, from what msgspec says: the field, and what is allowed there."""

import re
from typing import Any, cast

import msgspec
from msgspec import inspect

from domain.errors import Malformed

_PLACE = re.compile(r" - at `(?:key in )?\$(.*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(.+)`$")
_MISSING = re.compile(r"Object missing required field `(.+)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[([^\]]*)\]")


def explained(said: str, kind: Any, body: bytes) -> Malformed:
    """Return the refusal for msgspec's words about a body that should have been a `kind`."""
    place = _PLACE.search(said)
    path = place.group(1) if place else ""
    if "[...]" in path:
        path = _with_keys_of(body, path, inspect.type_info(kind))
    what = _PLACE.sub("", said)
    found = _at(inspect.type_info(kind), path)
    if unknown := _UNKNOWN.match(what):
        name = unknown.group(1)
        allowed = [each.encode_name for each in getattr(found, "fields", ())]
        return Malformed(
            f"There is no field {name!r} here; there are {', '.join(allowed)}.",
            field=_dotted(path, name),
            allowed=allowed,
        )
    if missing := _MISSING.match(what):
        name = _dotted(path, missing.group(1))
        return Malformed(f"The field {name!r} is required.", field=name)
    if isinstance(found, inspect.LiteralType):
        return Malformed(
            f"{what} in {_dotted(path)}: allowed are {', '.join(map(str, found.values))}.",
            field=_dotted(path),
            allowed=list(found.values),
        )
    return Malformed(f"{what} in {_dotted(path) or 'the body'}.", field=_dotted(path) or "body")


def _dotted(path: str, name: str = "") -> str:
    return f"{path}.{name}".removeprefix(".") if name else path.removeprefix(".")


def _with_keys_of(body: bytes, path: str, kind: inspect.Type) -> str:
    """Return the path with its keys; only its beginning if the whole body cannot be read."""
    try:
        value = msgspec.json.decode(body)
    # What is wrong may come again, and worse may come after it. UnicodeDecodeError is a ValueError.
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return path.partition("[...]")[0]
    return _with_keys(path, kind, value)


def _with_keys(path: str, kind: inspect.Type, body: Any) -> str:
    """Return the path with the key of each `[...]`: msgspec does not say which one it was."""
    walked, value = "", body
    for name, index in _STEP.findall(path):
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)  # as JSON has it
            inner = kind.value_type if isinstance(kind, inspect.DictType) else inspect.AnyType()
            key = name or next((key for key, each in fields.items() if not _fits(each, inner)), "?")
            walked, value = f"{walked}.{key}", fields.get(key)
        elif isinstance(value, list) and index.isdecimal():
            walked, value = f"{walked}[{index}]", cast("list[Any]", value)[int(index)]
        else:
            return path
        kind = _at(kind, f".{name}" if name else f"[{index}]")
    return walked


def _fits(value: Any, kind: inspect.Type) -> bool:
    match _bare(kind):
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.DictType():
            return isinstance(value, dict)
        case inspect.StructType(cls=struct):
            try:
                msgspec.convert(value, struct)
            except msgspec.ValidationError:
                return False
            return True
        case inspect.UnionType(types=types):
            return any(_fits(value, each) for each in types)
        case _:
            return True


def _at(kind: inspect.Type, path: str) -> inspect.Type:
    """Return the type at a place such as `.limits.cpu` or `.items[0]`, as far as it is known."""
    for name, _ in _STEP.findall(path):
        match _bare(kind):
            case inspect.StructType(fields=fields):
                known = {each.encode_name: each.type for each in fields}
                kind = known.get(name, inspect.AnyType())
            case inspect.DictType(value_type=value):
                kind = value
            case inspect.ListType(item_type=item):
                kind = item
            case _:
                return inspect.AnyType()
    return _bare(kind)


def _bare(kind: inspect.Type) -> inspect.Type:
    """Return a type without its metadata and without `| None`."""
    match kind:
        case inspect.Metadata(type=inner):
            return _bare(inner)
        case inspect.UnionType(types=types):
            real = [each for each in types if not isinstance(each, inspect.NoneType)]
            return _bare(real[0]) if len(real) == 1 else kind
        case _:
            return kind
