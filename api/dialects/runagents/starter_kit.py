"""POST /api/starter-kit."""

from typing import Any

from litestar import Request, Response, post
from litestar.di import NamedDependency

from api.calls import Call
from api.dialects.runagents.documents import answer
from api.dialects.runagents.namespaces import open_place_of
from api.starter_kit import seed_once


# Any: as in agents.py.
@post("/starter-kit", status_code=201, opt={"needs": "write"})
async def seed(request: Request[Any, Any, Any], call: NamedDependency[Call]) -> Response[Any]:
    """Make what is missing of the kit. The clients send an empty body and call it JSON."""
    made = await seed_once(call, await open_place_of(call, request))
    kit = made.facts
    return answer({"tool_created": kit.tool, "model_provider_created": kit.model_provider}, made)
