"""Tools: GET and POST /api/tools, GET and DELETE one."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.calls import Call
from api.dialects.runagents.documents import DELETED, answer, declare
from api.dialects.runagents.namespaces import open_place_of, place_of
from api.dialects.runagents.tool_bodies import tool_body, tool_of
from api.documents import Shown, delete_named, every, find
from api.tenancy import Place
from domain.catalog import Tool
from domain.documents import TOOLS
from domain.tools import lacking


# Any: as in agents.py.
@get("/tools", opt={"needs": "read"})
async def list_tools(
    request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> list[dict[str, Any]]:
    """List all tools of the workspace, as a bare array."""
    place = await place_of(call, request)
    return [_shown(each, place) async for each in every(call, place, TOOLS)]


@post("/tools", status_code=201, opt={"needs": "write"})
async def apply_tool(request: Request[Any, Any, Any], call: NamedDependency[Call]) -> Response[Any]:
    """Make a tool, or change the one of that name: 201 either way."""
    body = tool_body(await request.body())
    place = await open_place_of(call, request)
    spec_of, secret = partial(tool_of, body), body.credentials.secret
    made = await declare(call, place, TOOLS, body.name or "", spec_of, secret=secret)
    return answer(_shown(made.facts, place), made)


@get(["/tools/{name:str}", "/tools/{namespace:str}/{name:str}"], opt={"needs": "read"})
async def show_tool(
    name: FromPath[str],
    request: Request[Any, Any, Any],
    call: NamedDependency[Call],
    namespace: FromPath[str | None] = None,
) -> dict[str, Any]:
    """Show one tool; a namespace in the path decides which workspace's."""
    place = await place_of(call, request, namespace)
    return _shown(await find(call, place, TOOLS, name), place)


@delete(
    ["/tools/{name:str}", "/tools/{namespace:str}/{name:str}"],
    status_code=200,
    opt={"needs": "write"},
)
async def delete_tool(
    name: FromPath[str],
    request: Request[Any, Any, Any],
    call: NamedDependency[Call],
    namespace: FromPath[str | None] = None,
) -> Mapping[str, str]:
    """Delete a tool and its credentials."""
    place = await place_of(call, request, namespace)
    await delete_named(call, place, TOOLS, name)
    return DELETED


def _shown(found: Shown[Tool], place: Place) -> dict[str, Any]:
    """Return a tool in the original's shape, and with the flat fields that its CLI reads."""
    tool = found.spec
    lacks = lacking(tool, has_credential=found.has_credential)
    return {
        "name": found.name,
        "namespace": place.slug,
        "spec": {
            "description": tool.description,
            "topology": tool.topology,
            "accessMode": tool.access_mode,
            "connection": {
                "topology": tool.topology,
                "baseUrl": tool.base_url,
                "port": tool.port,
                "scheme": tool.scheme,
                "authentication": _authentication(found),
            },
            "governance": {"accessControl": {"mode": tool.access_mode}},
            "capabilities": [
                {
                    "name": each.name,
                    "method": each.method,
                    "path": each.path,
                    "description": each.description,
                    "riskTags": each.risk_tags,
                }
                for each in tool.capabilities
            ],
            "riskTags": tool.risk_tags,
        },
        "status": {"phase": "Pending" if lacks else "Available", "message": lacks},
        "base_url": tool.base_url,
        "topology": tool.topology,
        "access_mode": tool.access_mode,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
    }


def _authentication(found: Shown[Tool]) -> dict[str, Any]:
    """Return how it authenticates. A secret that is there has a name, which says no more."""
    tool = found.spec
    stored = {"name": f"{found.name}-credentials"} if found.has_credential else None
    shown: dict[str, Any] = {"type": tool.auth_type}
    if tool.auth_type == "APIKey" and tool.api_key:
        shown["apiKeyConfig"] = {
            "in": tool.api_key.location,
            "name": tool.api_key.name,
            "valuePrefix": tool.api_key.value_prefix,
            **({"secretRef": stored} if stored else {}),
        }
    if tool.auth_type == "OAuth2" and tool.oauth2:
        shown["oauth2Config"] = {
            "authUrl": tool.oauth2.authorization_url,
            "tokenUrl": tool.oauth2.token_url,
            "scopes": tool.oauth2.scopes,
            "authParams": tool.oauth2.parameters,
            **({"credentialsSecretRef": stored} if stored else {}),
        }
    return shown
