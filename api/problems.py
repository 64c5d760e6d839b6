"""Every error as an answer: RFC 9457 problems, or a dialect's own envelope below its paths."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, cast

import msgspec
import redis
import sqlalchemy.exc
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, ValidationException
from msgspec import Struct

from api.limits import RateLimits
from domain.errors import ArgosyError, LimitReached, Malformed, NotFound, TooLarge, Unavailable

MAX_BODY_BYTES = 10_000_000
PROBLEM_TYPE = "application/problem+json"
CLIENT_LEFT = "client disconnected prematurely"  # Litestar's words, with its 500
RETRY_SECONDS = 1  # what a client is told to wait when a dependency is down

# A database or Redis that cannot be reached, where no port has turned it into Unavailable.
DOWN = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    redis.RedisError,
    ConnectionError,
    TimeoutError,
)

log = structlog.stdlib.get_logger(__name__)


class MethodNotAllowed(ArgosyError):
    """The path exists, but not with this method. The `Allow` header lists those it has."""

    type = "method-not-allowed"
    status = 405
    title = "Not with this method"


class InternalError(ArgosyError):
    """A bug in Argosy. Its log says more, under the answer's `request_id`."""

    type = "internal"
    status = 500
    title = "Something went wrong inside"


class Problem(Struct, frozen=True, kw_only=True):
    """What is wrong, before it has a wire format. `members` are the facts for programs."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    members: Mapping[str, object] = {}
    headers: Mapping[str, str] = {}


type Envelope = Callable[[Problem], Response[Any]]


class ErrorAnswers:
    """The one exception handler of the app. `dialects`: path prefix → its envelope."""

    def __init__(self, dialects: Mapping[str, Envelope], limits: RateLimits) -> None:
        self._limits = limits
        self._dialects = sorted(dialects.items(), key=lambda each: -len(each[0]))

    def __call__(self, request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        """Answer `error`; what is nobody's fault but ours is logged with its traceback."""
        request_id = str(request.scope["state"].get("request_id", ""))
        refusal, headers = refused(error)
        try:
            self._limits.count_refused(request.scope, refusal)
        except LimitReached as limit:
            refusal, headers = refused(limit)
        if isinstance(refusal, InternalError):
            log.error("request.broke", path=request.scope["path"], exc_info=error)
        problem = Problem(
            type=refusal.type,
            title=refusal.title,
            status=refusal.status,
            detail=refusal.detail,
            request_id=request_id,
            members=refusal.members,
            headers=headers,
        )
        return self._envelope(request.scope["path"])(problem)

    def _envelope(self, path: str) -> Envelope:
        for prefix, envelope in self._dialects:
            if path == prefix or path.startswith(f"{prefix}/"):
                return envelope
        return native


def native(problem: Problem) -> Response[Any]:
    """Return the RFC 9457 answer."""
    return Response(
        problem_body(problem),
        status_code=problem.status,
        media_type=PROBLEM_TYPE,
        headers=dict(problem.headers),
    )


def problem_body(problem: Problem) -> bytes:
    """Return the RFC 9457 document. The standard members win over a refusal's own."""
    body = {
        **problem.members,
        "type": f"/problems/{problem.type}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": problem.request_id,
    }
    return msgspec.json.encode(body, enc_hook=str)


def refused(error: Exception) -> tuple[ArgosyError, dict[str, str]]:
    """Return the refusal that an exception stands for, and the headers that belong to it."""
    match error:
        case ArgosyError():
            return error, _headers(error)
        case HTTPException():
            return _of_litestar(error), dict(error.headers or {})
        case _ if isinstance(error, DOWN):
            log.warning("request.unavailable", error=f"{type(error).__name__}: {error}")
            down = Unavailable("The database or Redis cannot be reached right now.")
            return down, _headers(down)
        case _:
            return InternalError("Argosy has a bug here; its log says more."), {}


def _headers(refusal: ArgosyError) -> dict[str, str]:
    match refusal.status:
        case 401:
            return {"WWW-Authenticate": "Bearer"}
        case 429 | 503:
            return {"Retry-After": str(refusal.members.get("retry_after", RETRY_SECONDS))}
        case _:
            return {}


def _of_litestar(error: HTTPException) -> ArgosyError:
    match error:
        case ValidationException(extra=list() as wrong):
            return _wrong_parameters(wrong)
        case MethodNotAllowedException():
            return MethodNotAllowed("This path does not know that method.")
        case _ if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return TooLarge(f"A body has at most {MAX_BODY_BYTES} bytes.", limit=MAX_BODY_BYTES)
        case _ if error.detail == CLIENT_LEFT:
            return Malformed("The client left before its request was whole.")
        case _ if error.status_code == HTTPStatus.NOT_FOUND:
            return NotFound("There is nothing at this path.")
        case _ if error.status_code < 500:
            return Malformed(error.detail)
        case _:
            return InternalError("Argosy has a bug here; its log says more.")


def _wrong_parameters(wrong: list[Any]) -> ArgosyError:
    # Any: Litestar's own records of what did not validate, `{message, key, source}`.
    records = [cast("dict[str, str]", each) for each in wrong]
    said = "; ".join(f"{each.get('key', '?')}: {each['message']}" for each in records)
    if all(each.get("source") == "path" for each in records):
        return NotFound("There is nothing at this path.")
    if any(each.get("key") == "data" for each in records):
        return Malformed("A JSON body is required.", field="body")
    return Malformed(said, field=records[0].get("key", ""))
