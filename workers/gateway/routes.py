"""Which path of the gateway is answered by whom."""

from collections.abc import Callable
from functools import partial

from domain.errors import Malformed, NotFound
from workers.gateway.exchange import Exchange
from workers.gateway.models import answer_chat, answer_messages, list_models
from workers.gateway.reports import Reports
from workers.gateway.session import Handler, Session
from workers.gateway.tools import call_tool

type FindHandler = Callable[[str, str, Reports], Handler]


KNOWN = (
    "POST /v1/chat/completions, POST /v1/messages, GET /v1/models, /tools/<tool>/<path>, "
    "POST /runs/<run>/tool-result, POST /runs/<run>/checkpoint, GET /runs/<run>/checkpoint/<id>, "
    "GET /healthz"
)


def find_handler(method: str, path: str, reports: Reports) -> Handler:
    """Return who answers. Raises NotFound, and Malformed for a path that could mean two things.

    Published clients disagree on where the base URL ends, so models are at several paths. What is
    below a tool is judged, and so written down, even if it means nothing.
    """
    segments = path.removesuffix("/").split("/")[1:]
    if segments[:1] != ["tools"]:
        _check(path)
    match method, segments:
        case _, ["tools", tool, *_] if tool:
            rest = path.removeprefix(f"/tools/{tool}") or "/"
            return partial(call_tool, tool=tool, path=rest)
        case "POST", (
            ["v1"]
            | ["chat", "completions"]
            | ["v1", "chat", "completions"]
            | ["v1", "v1", "chat", "completions"]
            | ["v1", "p", _]
            | ["v1", "p", _, "chat", "completions"]
            | ["v1", "p", _, "v1", "chat", "completions"]
        ):
            return answer_chat
        case "POST", (
            ["messages"]
            | ["v1", "messages"]
            | ["v1", "v1", "messages"]
            | ["v1", "p", _, "messages"]
            | ["v1", "p", _, "v1", "messages"]
        ):
            return answer_messages
        case "GET", (
            ["models"]
            | ["v1", "models"]
            | ["v1", "v1", "models"]
            | ["v1", "p", _, "models"]
            | ["v1", "p", _, "v1", "models"]
        ):
            return list_models
        case "POST", ["runs", run, "tool-result"]:
            return partial(reports.take_tool_result, run=run)
        case "POST", ["runs", run, "checkpoint"]:
            return partial(reports.keep_checkpoint, run=run)
        case "GET", ["runs", run, "checkpoint", id]:
            return partial(reports.show_checkpoint, run=run, id=id)
        case "GET" | "HEAD", ["healthz"] | ["v1", "healthz"]:
            return _say_healthy
        case _:
            raise NotFound(f"There is no {method} {path} here. There are: {KNOWN}.")


def _check(path: str) -> None:
    """Refuse what one may read as one path and another, behind us, as another path."""
    if not path.startswith("/") or not path.isprintable():
        raise Malformed("The path has characters that no path has.")
    if not {".", ".."}.isdisjoint(path.replace("\\", "/").split("/")):
        raise Malformed("The path has segments that are `.` or `..`.")


async def _say_healthy(session: Session, exchange: Exchange) -> None:
    del session
    await exchange.respond_json(200, {"status": "ok"})
