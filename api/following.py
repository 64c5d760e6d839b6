"""Events of a run or build: JSON pages, or a stream of them, by the request's `Accept`."""

from typing import Annotated, Any

from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream
from msgspec import Struct

from api.calls import Call
from domain.live import live_view

EVENT_STREAM = "text/event-stream"
MAX_EVENTS = 1000

MAX_NUMBER = 2**53 - 1  # what every JSON reader counts to without rounding

After = Annotated[int, QueryParameter(ge=0, le=MAX_NUMBER)]
EventLimit = Annotated[int, QueryParameter(ge=1, le=MAX_EVENTS)]
# Without its name this would be a query parameter, and resuming would silently start over.
LastEventId = Annotated[str | None, HeaderParameter(name="Last-Event-ID", pattern="^[0-9]{0,20}$")]


class LivePage(Struct, frozen=True, kw_only=True):
    """Events in order, each with its `type`, `version` and `at`, and what its type has besides.

    next_after: where to go on, null when there are no more for now.
    """

    items: list[dict[str, Any]]
    next_after: int | None


def paged(page: type[Struct]) -> dict[int, ResponseSpec]:
    """Return what the document says of events that are paged or followed."""
    return {200: ResponseSpec(page, generate_examples=False, description="A page, or a stream.")}


def wants_stream(request: Request[Any, Any, Any]) -> bool:
    """Whether the client asked for server-sent events."""
    return EVENT_STREAM in request.headers.get("accept", "")


def resume_after(after: int, last_event_id: str | None) -> int:
    """Return the version or position to go on after; the header wins."""
    return min(int(last_event_id), MAX_NUMBER) if last_event_id else after


async def live_events(
    call: Call, request: Request[Any, Any, Any], stream: str, after: int, limit: int
) -> Response[Any]:
    """Answer with a page, or with a stream that ends after the terminal frame."""
    if wants_stream(request):
        return sse(call.shared.hub.follow(stream, after))
    recorded = await call.store.read(stream, after=after, limit=limit)
    next_after = recorded[-1].version if len(recorded) == limit else None
    return Response(LivePage(items=[live_view(each) for each in recorded], next_after=next_after))


# Any: Litestar leaves open what its response holds.
def sse(frames: Any) -> Response[Any]:
    """Return a response that streams frames as they come."""
    return Stream(
        frames,
        media_type=EVENT_STREAM,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
