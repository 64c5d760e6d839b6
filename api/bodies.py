# ruff: noqa: ARG002, ARG003  # the arguments are those of Litestar's base class
"""Reading JSON bodies strictly, and saying what is wrong with one: the field, and what is allowed.

Litestar would accept `"5"` for a number. A body here is decoded once, from its bytes, and nothing
is coerced.
"""

from typing import Any, ClassVar

import msgspec
from litestar.connection import ASGIConnection
from litestar.dto import AbstractDTO
from litestar.handlers import BaseRouteHandler

from api.explaining import explained
from domain.errors import Malformed

DECODER = "decoder"
REFERENCE = "#/components/schemas/{name}"


# Any: one class reads every body; Litestar wants the model's type as its parameter.
class StrictBody(AbstractDTO[Any]):
    """How Litestar reads and documents the parameter `data` of a handler."""

    _decoders: ClassVar[dict[str, msgspec.json.Decoder[Any]]] = {}

    @classmethod
    def create_for_field_definition(
        cls, field_definition: Any, handler_id: str, backend_cls: Any = None
    ) -> None:
        """Make the handler's decoder, once."""
        cls._decoders[handler_id] = msgspec.json.Decoder(field_definition.annotation)

    @classmethod
    def schemas(cls) -> dict[str, Any]:
        """Return JSON Schemas of all that is read, by name, as exact as the reading."""
        kinds = [each.type for each in cls._decoders.values()]
        return msgspec.json.schema_components(kinds, ref_template=REFERENCE)[1]

    def __init__(self, asgi_connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        super().__init__(asgi_connection)  # pyright: ignore[reportUnknownMemberType]  # untyped
        self._handler: BaseRouteHandler = asgi_connection.route_handler

    def decode_bytes(self, value: bytes) -> Any:
        """Return the body. Raises Malformed."""
        kept = self._handler.opt
        if DECODER not in kept:  # the handler's id takes Litestar long to make
            kept[DECODER] = self._decoders[self._handler.handler_id]
        return decode(kept[DECODER], value)

    def decode_builtins(self, value: dict[str, Any]) -> Any:
        """Refuse forms."""
        raise Malformed("Send the body as JSON.", field="body")

    @classmethod
    def is_supported_model_type_field(cls, field_definition: Any) -> bool:
        """Leave what handlers return to Litestar."""
        return False

    @classmethod
    def create_openapi_schema(
        cls, field_definition: Any, handler_id: str, schema_creator: Any
    ) -> Any:
        """Document the struct itself."""
        return schema_creator.for_field_definition(field_definition)

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Any:
        """Return nothing: no transfer model is made."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: Any) -> bool:
        """Say no, for the same reason."""
        return False


def decode[T](decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Return the body. Raises Malformed naming the field, as in `limits.memory_mb`."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise explained(str(error), decoder.type, body) from None
    except msgspec.DecodeError as error:
        raise Malformed(f"The body is not JSON: {error}.", field="body") from None
    except UnicodeDecodeError as error:
        raise Malformed(
            f"The body is not UTF-8 text: {error.reason} in some string.", field="body"
        ) from None
    except RecursionError:
        raise Malformed("The body is nested too deeply.", field="body") from None
