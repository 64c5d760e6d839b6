"""The log: paged, or followed for ever."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Struct

from api.calls import Call
from api.following import (
    After,
    EventLimit,
    LastEventId,
    paged,
    resume_after,
    sse,
    wants_stream,
)
from api.live import HEARTBEAT, HEARTBEAT_SECONDS
from api.recorded_views import RecordedEvent, shown
from api.visibility import Visible
from domain.decider import Recorded
from domain.errors import Invalid, Unavailable
from domain.registry import FOLDING

BATCH = 1000
MOST_SCANNED = 20_000  # events looked at for one page; a filter that finds little goes on with it
TYPES = frozenset(each.tag() for each in FOLDING)

StreamFilter = Annotated[str | None, QueryParameter(max_length=200)]
TypeFilter = Annotated[list[str] | None, QueryParameter(name="type", max_items=50)]


class LogPage(Struct, frozen=True, kw_only=True):
    """Events in the log's order.

    next_after: where to go on, null when the log has no more for now. A page may have fewer events
    than asked for, or none, and still go on: a filter looks at so many at a time.
    position: the log's last.
    """

    items: list[RecordedEvent]
    next_after: int | None
    position: int


class Filter:
    """What a caller wants of the log, and may see."""

    def __init__(self, call: Call, stream: str | None, types: list[str] | None) -> None:
        unknown = sorted(set(types or ()) - TYPES)
        if unknown:
            raise Invalid(f"The log has no events of type {', '.join(unknown)}.", field="type")
        self.types = types or None
        self._stream = stream
        self._visible = Visible(call)

    async def wants(self, recorded: Recorded[Any]) -> bool:
        """Whether to show it."""
        if self._stream and recorded.stream != self._stream:
            return False
        return await self._visible.sees(recorded)


@get(
    "/events",
    operation_id="ReadLog",
    opt={"needs": "audit"},
    tags=["Log"],
    responses=paged(LogPage),
)
async def read_log(
    request: Request[Any, Any, Any],
    call: NamedDependency[Call],
    *,
    after: After = 0,
    limit: EventLimit = 200,
    stream: StreamFilter = None,
    types: TypeFilter = None,
    last_event_id: LastEventId = None,
) -> Response[Any]:
    """Page the log after a position, or follow it for ever, by `Accept`."""
    after = resume_after(after, last_event_id)
    wanted = Filter(call, stream, types)
    if wants_stream(request):
        return sse(_frames(call, wanted, after))
    return Response(await _page(call, wanted, after, limit))


async def _page(call: Call, wanted: Filter, after: int, limit: int) -> LogPage:
    head = await call.store.head()
    found: list[RecordedEvent] = []
    begun = after
    while after < head and after - begun < MOST_SCANNED:
        batch = await call.store.read_all(after=after, limit=BATCH, types=wanted.types)
        for recorded in batch:
            assert recorded.position is not None
            if len(found) == limit:
                return LogPage(items=found, next_after=after, position=head)
            after = recorded.position
            if await wanted.wants(recorded):
                found.append(shown(recorded))
        if len(batch) < BATCH:
            return LogPage(items=found, next_after=None, position=head)
    return LogPage(items=found, next_after=after if after < head else None, position=head)


async def _frames(call: Call, wanted: Filter, after: int) -> AsyncGenerator[bytes]:
    """Yield the log after a position as SSE frames, for ever, until the server stops."""
    batches = call.store.follow(after=after, types=wanted.types)
    with suppress(Unavailable):
        async for batch in _or_heartbeats(call, batches):
            if batch is None:
                yield HEARTBEAT.data
                continue
            for recorded in batch:
                if await wanted.wants(recorded):
                    yield _frame(recorded)


def _frame(recorded: Recorded[Any]) -> bytes:
    data = msgspec.json.encode(shown(recorded))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (recorded.position, recorded.type.encode(), data)


async def _or_heartbeats[T](call: Call, batches: AsyncIterator[T]) -> AsyncGenerator[T | None]:
    """Yield batches, and None after each 15 s without one; ends when the server stops."""
    closing = asyncio.ensure_future(call.shared.hub.closed.wait())
    coming: asyncio.Future[T] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(batches))
            await asyncio.wait(
                (coming, closing),
                timeout=HEARTBEAT_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if closing.done():
                return
            if coming.done():
                batch, coming = await coming, None
                yield batch
            else:
                yield None
    finally:
        for task in filter(None, (coming, closing)):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
