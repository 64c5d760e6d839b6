"""The OpenAPI document: what Litestar reads off the handlers, and the problems they answer."""

from typing import Any

import msgspec
from litestar import Request, Router
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from api.bodies import StrictBody
from api.following import EVENT_STREAM
from api.limits import LimitedByAddress

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
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "name": "X-API-Key", "in": "header"},
}
WITH_KEY = "/v1/"  # below it nothing is served without a key
NULL = {"type": "null"}
METHODS = frozenset({"get", "post", "put", "patch", "delete"})
REQUEST_ID: dict[str, Any] = {
    "X-Request-Id": {"description": "Names this request in the logs.", "schema": {"type": "string"}}
}
IDEMPOTENCY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Sent again with the same key and body, the request is answered as before.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
FRAMES: dict[str, Any] = {
    "description": "Frames of `id`, `event` and `data`, one of the page's items as JSON.",
    "type": "string",
}
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
    """Return the document as things are: with problems, and exact about what is read."""
    components = document.get("components", {})
    # What is read is described by what reads it: Litestar leaves out the bounds of optional numbers
    # and that unknown fields are refused.
    schemas = {**components.get("schemas", {}), **StrictBody.schemas(), "Problem": PROBLEM}
    paths = {
        path: {
            method: _completed(path, method, operation) if method in METHODS else operation
            for method, operation in item.items()
        }
        for path, item in document["paths"].items()
    }
    return {**document, "paths": paths, "components": {**components, "schemas": schemas}}


def _completed(path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    """Return an operation with what all of its kind have in common."""
    parameters = [sent(each) for each in operation.get("parameters", [])]
    # Litestar documents its own 400, which nobody gets here.
    answers = {code: answer for code, answer in operation["responses"].items() if code != "400"}
    if any(each["name"] == "Last-Event-ID" for each in parameters):
        content = {**answers["200"]["content"], EVENT_STREAM: {"schema": FRAMES}}
        answers["200"] = {**answers["200"], "content": content}
    if method == "post":
        parameters = [*parameters, IDEMPOTENCY]
    answers["default"] = ANY_PROBLEM
    responses = {
        code: {**answer, "headers": {**answer.get("headers", {}), **REQUEST_ID}}
        for code, answer in answers.items()
    }
    completed = {**operation, "parameters": parameters, "responses": responses}
    match operation:
        case {"requestBody": {"content": {"application/json": {"schema": {"oneOf": _}}}} as body}:
            completed["requestBody"] = {**body, "required": False}  # one of them is null
        case _:
            pass
    return completed if path.startswith(WITH_KEY) else {**completed, "security": []}


def sent(parameter: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter as it can be sent: left out it can be, but never null."""
    schema: dict[str, Any] = dict(parameter["schema"])
    for one in schema.pop("oneOf", ()):
        schema |= {} if one == NULL else one
    return {**parameter, "schema": schema}


def openapi_config(*others: HTTPRouteHandler) -> OpenAPIConfig:
    """Return how the document is made; it is served at /schema/openapi.json.

    others: the handlers of the dialects' documents, beside it.
    """
    bearer = SecurityScheme(type="http", scheme="bearer")
    header = SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header")
    return OpenAPIConfig(
        title="Argosy",
        version=VERSION,
        openapi_router=Router(
            "/schema",
            route_handlers=others,
            middleware=[LimitedByAddress],
            include_in_schema=False,
            dto=None,
            return_dto=None,
        ),
        use_handler_docstrings=True,
        render_plugins=[WithProblems()],
        components=Components(security_schemes={"bearer": bearer, "key": header}),
        security=SECURITY,
    )
