"""The OpenAPI document: what Litestar reads off the handlers, and the problems they answer."""

from typing import Any

import msgspec
from litestar import Request
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

VERSION = "0.1.0"

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. `type` is stable; other members are facts of this problem.",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "examples": ["/problems/not-found"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "field": {"type": "string", "description": "The place in the request that is wrong."},
    },
    "additionalProperties": True,
}
METHODS = frozenset({"get", "post", "put", "patch", "delete"})
ANY_PROBLEM = {
    "description": "A problem.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


class WithProblems(JsonRenderPlugin):
    """Serves the document as JSON, with the problem as every operation's default answer."""

    _rendered: bytes = b""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002  # as in the base class
        """Return the document's bytes, made once."""
        if not self._rendered:
            self._rendered = msgspec.json.encode(described(openapi_schema))
        return self._rendered


def described(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with problems in it."""
    components = document.get("components", {})
    schemas = {**components.get("schemas", {}), "Problem": PROBLEM}
    paths = {
        path: {
            method: _answering(operation) if method in METHODS else operation
            for method, operation in item.items()
        }
        for path, item in document["paths"].items()
    }
    return {**document, "paths": paths, "components": {**components, "schemas": schemas}}


def _answering(operation: dict[str, Any]) -> dict[str, Any]:
    # Litestar documents its own 400, which nobody gets here.
    kept = {code: answer for code, answer in operation["responses"].items() if code != "400"}
    return {**operation, "responses": {**kept, "default": ANY_PROBLEM}}


def openapi_config() -> OpenAPIConfig:
    """Return how the document is made; it is served at /schema/openapi.json."""
    bearer = SecurityScheme(type="http", scheme="bearer")
    header = SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header")
    return OpenAPIConfig(
        title="Argosy",
        version=VERSION,
        path="/schema",
        use_handler_docstrings=True,
        render_plugins=[WithProblems()],
        components=Components(security_schemes={"bearer": bearer, "key": header}),
        security=[{"bearer": []}, {"key": []}],
    )
