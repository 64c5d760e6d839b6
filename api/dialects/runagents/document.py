"""The dialect's own OpenAPI document, at /schema/runagents.json.

The original publishes one of its newer generation only. Its answers leave out what they do not
have, so they are described in `docs/reference/runagents.md` and not here.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any

import msgspec
from litestar import Litestar, Response, Router, get
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig

from api.bodies import REFERENCE
from api.calls import provide_call
from api.dialects.runagents import (
    artifacts,
    deploy,
    drafts,
    invoke,
    model_providers,
    policies,
    preview,
    tools,
)
from api.dialects.runagents.artifacts import ArtifactBody
from api.dialects.runagents.bodies import DeployBody, InvokeBody
from api.dialects.runagents.draft_bodies import DraftBody, DraftChange, DraftEnd
from api.dialects.runagents.model_providers import ProviderBody
from api.dialects.runagents.namespaces import HEADER
from api.dialects.runagents.policies import PolicyBody
from api.dialects.runagents.tool_bodies import ToolBody
from api.openapi import IDEMPOTENCY, METHODS, REQUEST_ID, SECURITY, SECURITY_SCHEMES, VERSION, sent


class Invocation(InvokeBody, frozen=True, kw_only=True):
    """POST …/invoke, as it is to be sent: a message is missed by name, whatever else is wrong."""

    message: Annotated[str, msgspec.Meta(min_length=1)]  # pyright: ignore[reportGeneralTypeIssues]  # has to be sent


BODIES: Mapping[HTTPRouteHandler, type[msgspec.Struct]] = {
    deploy.deploy_agent: DeployBody,
    preview.preview_agent: DeployBody,
    invoke.invoke_agent: Invocation,
    tools.apply_tool: ToolBody,
    policies.apply_policy: PolicyBody,
    policies.replace_policy: PolicyBody,
    model_providers.apply_model_provider: ProviderBody,
    artifacts.store_artifact: ArtifactBody,
    drafts.create_draft: DraftBody,
    drafts.change_draft: DraftChange,
    drafts.complete_draft: DraftEnd,
    drafts.abandon_draft: DraftEnd,
}
CAN_BE_LEFT_OUT = {DraftBody, DraftChange, DraftEnd}
WITHOUT_NULLS = {ToolBody, PolicyBody, ProviderBody, ArtifactBody, *CAN_BE_LEFT_OUT}
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
    "additionalProperties": True,
}
NAMESPACE: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "description": "The workspace; by default the key's own, or `default`.",
    "schema": {"type": "string"},
}


def serve_document(routes: Mapping[str, Sequence[HTTPRouteHandler]]) -> HTTPRouteHandler:
    """Return the handler of the document of these routes, by the path they are below."""

    @cache
    def made() -> bytes:
        return msgspec.json.encode(_document(routes))

    @get("/runagents.json", sync_to_thread=True)
    def document() -> Response[bytes]:
        """Serve the document."""
        return Response(made(), media_type="application/vnd.oai.openapi+json")

    return document


def _document(routes: Mapping[str, Sequence[HTTPRouteHandler]]) -> dict[str, Any]:
    """Return what Litestar reads off the handlers, and what they read by themselves."""
    # The application serves nothing: it is here for Litestar to describe it.
    routers = [
        Router(path, route_handlers=handlers, dependencies={"call": Provide(provide_call)})
        for path, handlers in routes.items()
    ]
    config = OpenAPIConfig(title="Argosy as RunAgents", version=VERSION)
    described = Litestar(routers, openapi_config=config, logging_config=None)
    document = described.openapi_schema.to_schema()
    bodies = _bodies(described)
    schemas = _schemas(*set(BODIES.values()) - WITHOUT_NULLS)
    schemas |= {name: _nullable(each) for name, each in _schemas(*WITHOUT_NULLS).items()}
    return {
        **document,
        "paths": {
            path: {
                method: _completed(method, operation, bodies.get((method, path)))
                for method, operation in item.items()
                if method in METHODS
            }
            for path, item in document["paths"].items()
        },
        "components": {
            "schemas": {**document["components"].get("schemas", {}), **schemas, "Error": ERROR},
            "securitySchemes": SECURITY_SCHEMES,
        },
        "security": SECURITY,
    }


def _schemas(*kinds: type[msgspec.Struct]) -> dict[str, Any]:
    return msgspec.json.schema_components(kinds, ref_template=REFERENCE)[1]


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with null for whatever can be left out."""
    required = schema.get("required", ())
    fields = schema.get("properties", {}).items()
    properties = {
        name: each if name in required else {"anyOf": [each, {"type": "null"}]}
        for name, each in fields
    }
    return {**schema, "properties": properties} if properties else schema


def _bodies(app: Litestar) -> dict[tuple[str, str], type[msgspec.Struct]]:
    """Return what is read, by method and path."""
    bodies = {handler.fn: body for handler, body in BODIES.items()}
    return {
        (method.lower(), path.path_format): bodies[handler.fn]
        for path in app.routes
        for handler in getattr(path, "route_handlers", ())
        for method in handler.http_methods
        if handler.fn in bodies
    }


def _completed(
    method: str, operation: dict[str, Any], body: type[msgspec.Struct] | None
) -> dict[str, Any]:
    # Litestar documents its own 400, which nobody gets here.
    answers = {code: answer for code, answer in operation["responses"].items() if code != "400"}
    error = {"application/json": {"schema": {"$ref": REFERENCE.format(name="Error")}}}
    answers["default"] = {"description": "What is wrong, in words.", "content": error}
    completed = {
        **operation,
        "parameters": [
            *(sent(each) for each in operation.get("parameters", [])),
            NAMESPACE,
            *([IDEMPOTENCY] if method == "post" else []),
        ],
        "responses": {
            code: {**answer, "headers": {**answer.get("headers", {}), **REQUEST_ID}}
            for code, answer in answers.items()
        },
    }
    if body:
        reference = {"schema": {"$ref": REFERENCE.format(name=body.__name__)}}
        completed["requestBody"] = {
            "required": body not in CAN_BE_LEFT_OUT,
            "content": {"application/json": reference},
        }
    return completed
