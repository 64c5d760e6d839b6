"""POST /api/agents/{namespace}/{name}/invoke: a run, waited for as long as its clients wait."""

from typing import Any

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.calls import Call
from api.dialects.runagents.bodies import invoke_body
from api.folding import fold
from api.runs import request_once
from api.sources import check_text
from domain import runs
from domain.errors import Malformed
from domain.ids import stream_name
from domain.requesting import NewRun
from domain.runs import RUN

WAIT_SECONDS = 25.0  # the clients give up after 30


# Any: as in agents.py.
@post("/agents/{namespace:str}/{name:str}/invoke", status_code=200, opt={"needs": "write"})
async def invoke_agent(
    namespace: FromPath[str],
    name: FromPath[str],
    request: Request[Any, Any, Any],
    call: NamedDependency[Call],
) -> Response[dict[str, Any]]:
    """Run the agent and answer with its output; 202 with the run's id when it takes longer."""
    body = invoke_body(await request.body())
    if not body.message:
        raise Malformed("message is required", field="message")
    place = await call.open_workspace(namespace)
    wanted = NewRun(
        workspace_id=place.id,
        slug=name,
        message=body.message,
        history=body.history,
        user_id=check_text(body.user_id, "user_id"),
        conversation_id=check_text(body.conversation_id, "conversation_id"),
    )
    made = (await request_once(call, wanted)).facts
    await call.shared.hub.wait(stream_name(RUN.category, made.run_id), WAIT_SECONDS)
    found = await fold(call.store, RUN, made.run_id)
    answer = {"run_id": made.run_id, "request_id": call.request_id}
    match found.state:
        case runs.Ended(end=runs.RunEnded(how="completed") as end):
            return Response(_completed(end) | answer)
        case runs.Ended(end=end):
            error = {"error": end.detail or end.reason, "reason": end.reason}
            return Response(answer | error, status_code=500)
        case _:
            going = {"status": "RUNNING", "message": f"Follow it at /runs/{made.run_id}."}
            return Response(answer | going, status_code=202)


def _completed(end: runs.RunEnded) -> dict[str, Any]:
    return {
        **end.extra,  # what a handler returns beside its answer is passed through (contract §5)
        "response": end.output,
        "model": "",
        "usage": {
            "prompt_tokens": end.usage.input_tokens,
            "completion_tokens": end.usage.output_tokens,
            "total_tokens": end.usage.input_tokens + end.usage.output_tokens,
        },
        "tool_calls_made": [],
        "duration_ms": round(end.usage.seconds * 1000),
        "handler": "user",
    }
