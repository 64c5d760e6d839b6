"""Reading values of closed sets that a newer version of the code has added.

A text that is none of those this code knows comes through as it is: what lists and shows it needs
not know it. The shape has to be right all the same, and so have limits (`forbid_unknown_fields`).
"""

from collections.abc import Callable
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeAliasType,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields


def lenient_decoder[T: Struct](kind: type[T]) -> Callable[[bytes], T]:
    """Return what decodes JSON as `kind`, taking any text for one of a set. Raises
    msgspec.ValidationError.
    """
    twins: dict[type[Struct], type[Struct]] = {}
    decoder = msgspec.json.Decoder(_twin(kind, twins))
    originals = {twin: original for original, twin in twins.items()}

    def decode(data: bytes) -> T:
        return _original(decoder.decode(data), originals)

    return decode


def _twin(kind: type[Struct], twins: dict[type[Struct], type[Struct]]) -> type[Struct]:
    """Return the same struct with texts where it has sets of them."""
    if kind in twins:
        return twins[kind]
    hints = get_type_hints(kind, include_extras=True)
    made: list[Any] = []
    for each in fields(kind):
        default: Any = msgspec.field(name=each.encode_name)
        if each.default is not NODEFAULT:
            default = msgspec.field(default=each.default, name=each.encode_name)
        elif each.default_factory is not NODEFAULT:
            default = msgspec.field(default_factory=each.default_factory, name=each.encode_name)
        made.append((each.name, _widened(hints[each.name], twins), default))
    config = kind.__struct_config__
    twins[kind] = msgspec.defstruct(
        kind.__name__,
        made,
        kw_only=True,
        tag_field=config.tag_field,
        tag=config.tag,
        forbid_unknown_fields=config.forbid_unknown_fields,
    )
    return twins[kind]


# Any: annotations, and the values of any field, are whatever they are.
def _widened(hint: Any, twins: dict[type[Struct], type[Struct]]) -> Any:
    whole, generic = hint, get_origin(hint)
    if isinstance(hint, TypeAliasType):
        return _widened(hint.__value__, twins)
    if isinstance(hint, type) and issubclass(hint, Struct):
        return _twin(hint, twins)
    inner = get_args(hint)
    if generic is Literal:
        return str if all(isinstance(each, str) for each in inner) else whole
    if generic is Annotated:
        return Annotated[_widened(inner[0], twins), *inner[1:]]
    wider = tuple(_widened(each, twins) for each in inner)
    if generic in (Union, UnionType):
        return Union[wider]  # noqa: UP007  # made of values
    made: Any = generic
    return made[wider] if inner else whole


def _original(value: Any, originals: dict[type[Struct], type[Struct]]) -> Any:
    """Return a value with the structs that it was meant to have."""
    if isinstance(value, Struct):
        twin = type(value)
        if twin not in originals:  # a default
            return value
        names = value.__struct_fields__
        return originals[twin](
            **{name: _original(getattr(value, name), originals) for name in names}
        )
    whole: Any = value
    if isinstance(value, list):
        return [_original(each, originals) for each in whole]
    if isinstance(value, tuple):
        return tuple(_original(each, originals) for each in whole)
    if isinstance(value, dict):
        return {name: _original(each, originals) for name, each in whole.items()}
    return whole
