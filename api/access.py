"""Around everything: a request's ids, what is left, its span, and a log line at its end."""

import re
import time
from functools import cache

import structlog
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from opentelemetry.trace import Span, SpanKind, get_current_span
from prometheus_client import Counter, Gauge, Histogram
from structlog.contextvars import bind_contextvars, clear_contextvars

from adapters.metrics import SECONDS
from adapters.tracing import (
    begin,
    current,
    fail,
    read_traceparent,
    trace_id_of,
    traceparent_of,
)
from api.limits import ALLOWANCE, Allowance
from domain.ids import new_id

HEADER = b"x-request-id"
TRACE = "traceparent"  # of the request, in its scope's state; empty if there is none
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,64})?")
_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

OPEN = Gauge("argosy_requests_open", "Requests under way, streams included.")
ANSWERED = Counter(
    "argosy_requests_total", "Requests that were answered.", ["method", "route", "status"]
)
BEGAN = Histogram(
    "argosy_request_seconds",
    "Time until an answer began.",
    ["method", "route"],
    buckets=SECONDS,
)

log = structlog.stdlib.get_logger(__name__)


class AccessLog:
    """Wraps the whole app, so that also what no route answers has an id and a line.

    Query strings, headers and bodies are never logged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _given(scope, HEADER, _ID) or new_id()
        span = _identify(scope, request_id)
        header = (HEADER, request_id.encode())
        status, answered = 0, started

        async def answer(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                answered = time.perf_counter()
                status = message["status"]
                allowance: Allowance | None = scope["state"].get(ALLOWANCE)
                limits = allowance.headers() if allowance else ()
                message["headers"] = [*message["headers"], header, *limits]
                if scope["method"] == "OPTIONS":
                    _allow_all(scope, message["headers"])
            await send(message)

        OPEN.inc()
        try:
            with current(span):
                await self._app(scope, receive, answer)
        finally:
            OPEN.dec()
            _end(span, scope, status)
            counter, seconds = _counted(*route_of(scope), status)
            counter.inc()
            seconds.observe(answered - started)
            path = scope["path"]
            write = log.debug if path in QUIET else log.info
            write(
                "request.done",
                method=scope["method"],
                path=path,
                status=status,
                ms=round((time.perf_counter() - started) * 1000, 1),
            )


def route_of(scope: HTTPScope) -> tuple[str, str]:
    """Return method and route, of which there are few: a client may ask for anything."""
    if "path_template" in scope:
        return scope["method"], scope["path_template"]
    return "other", "other"


@cache  # there are as few as there are labels
def _counted(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return ANSWERED.labels(method, route, str(status)), BEGAN.labels(method, route)


def _allow_all(scope: HTTPScope, headers: list[tuple[bytes, bytes]]) -> None:
    """Name all methods of a path: Litestar's own answer names those of one handler."""
    _, template = route_of(scope)
    for route in scope["litestar_app"].routes:
        if isinstance(route, HTTPRoute) and route.path_format == template:
            headers[:] = [each for each in headers if each[0].lower() != b"allow"]
            headers.append((b"allow", ", ".join(sorted(route.methods)).encode()))


def _identify(scope: HTTPScope, request_id: str) -> Span:
    """Give a request its ids, for its log lines and for what it appends; returns its span."""
    given = _given(scope, TRACE.encode(), _TRACEPARENT) or ""
    parent = read_traceparent(given)
    span = begin("request", parent, SpanKind.SERVER, {"argosy.request.id": request_id})
    # Where nothing is recorded here, the client's trace is passed on as it came.
    traceparent = traceparent_of(span) or (given and traceparent_of(get_current_span(parent)))
    scope["state"] |= {"request_id": request_id, TRACE: traceparent}
    clear_contextvars()  # of the request before it on this connection
    bind_contextvars(request_id=request_id)
    if traceparent:
        bind_contextvars(trace_id=trace_id_of(traceparent))
    return span


def _end(span: Span, scope: HTTPScope, status: int) -> None:
    if not span.is_recording():
        return
    method, route = route_of(scope)
    span.update_name(f"{method} {route}")
    span.set_attributes(
        {
            "http.request.method": method,
            "http.route": route,
            "url.path": scope["path"],
            "http.response.status_code": status,
        }
    )
    if status >= 500 or not status:
        fail(span, str(status))
    span.end()


def _given(scope: HTTPScope, header: bytes, form: re.Pattern[str]) -> str | None:
    for name, value in scope["headers"]:
        if name == header:
            text = value.decode("latin-1")
            return text if form.fullmatch(text) else None
    return None
