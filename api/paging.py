"""Lists: newest first, page by page, and never older than the log was when the caller asked."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from litestar.params import QueryParameter
from msgspec import Struct

from api.calls import Call
from projections.reads import Page

WAIT_SECONDS = 1.0  # for a read model to reach the log; a stopped one is not waited for

Limit = Annotated[int, QueryParameter(ge=1, le=200)]
Cursor = Annotated[str | None, QueryParameter(max_length=200)]


class Listed[T](Struct, frozen=True, kw_only=True):
    """One page. `next_cursor` null: the last one. `position`: where in the log this was read."""

    items: list[T]
    next_cursor: str | None
    position: int


async def listed[R, T](
    call: Call, name: str, query: Callable[[], Awaitable[Page[R]]], view: Callable[[R], T]
) -> Listed[T]:
    """Return a page of a read model once it has seen all that the log had when this was called.

    name: the projection's.
    """
    await caught_up(call, name)
    page = await query()
    return Listed(
        items=[view(row) for row in page.items],
        next_cursor=page.next_cursor,
        position=page.position,
    )


async def caught_up(call: Call, name: str) -> None:
    """Wait until a read model has seen all that the log has now, or for a second."""
    await call.shared.reads.wait_for(name, await call.store.head())
