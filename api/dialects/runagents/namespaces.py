"""A RunAgents namespace is a workspace, named by its slug."""

from typing import Any

from litestar import Request

from api.calls import Call
from api.tenancy import Place
from domain.errors import Malformed, NotFound

HEADER = "x-workspace-namespace"
DEFAULT = "default"


async def place_of(call: Call, request: Request[Any, Any, Any]) -> Place:
    """Return the workspace of the request's header: by default the key's own, or `default`.

    Raises Malformed, as the original does, for one that this key does not see.
    """
    named = request.headers.get(HEADER, "").strip()
    name = named or call.caller.workspace_id or DEFAULT
    try:
        return await call.workspace(name)
    except NotFound:
        raise Malformed(f"unknown workspace {name[:100]!r}") from None
