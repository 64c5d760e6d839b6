"""A RunAgents namespace is a workspace, named by its slug."""

from typing import Any

from litestar import Request

from api.calls import Call
from api.tenancy import Place
from domain.errors import Malformed, NotFound

HEADER = "x-workspace-namespace"
DEFAULT = "default"


async def place_of(
    call: Call, request: Request[Any, Any, Any], namespace: str | None = None
) -> Place:
    """Return the workspace of the request's header: by default the key's own, or `default`.

    namespace: the one that the path names, which decides; NotFound for one that is not seen.
    Raises Malformed, as the original does, for a header's that this key does not see.
    """
    if namespace:
        return await call.workspace(namespace)
    named = request.headers.get(HEADER, "").strip()
    name = named or call.caller.workspace_id or DEFAULT
    try:
        return await call.workspace(name)
    except NotFound:
        raise Malformed(f"unknown workspace {name[:100]!r}") from None


async def open_place_of(call: Call, request: Request[Any, Any, Any]) -> Place:
    """Return the same workspace, to change something in. Raises WorkspaceIsArchived, too."""
    return await call.open_workspace((await place_of(call, request)).slug)
