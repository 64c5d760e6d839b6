"""The stored events of a run or a build, page by page."""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from argosy.models import LiveEvent, live_event
from argosy.transport import Query, Transport


class _Sent(Struct, frozen=True):
    items: list[dict[str, Any]]
    next_after: int | None = None


def read_events(transport: Transport, path: str, after: int) -> Iterator[LiveEvent]:
    """Yield the stored events at `path` after version `after`, page by page."""
    query: Query = {"after": after}
    while True:
        sent = transport.get(path, _Sent, query=query)
        yield from map(live_event, sent.items)
        if sent.next_after is None or not sent.items:
            return
        query = {"after": sent.next_after}
