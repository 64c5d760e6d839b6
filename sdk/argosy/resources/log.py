"""The log, and the history of one stream. Needs the role auditor or admin."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from argosy.following import Lost, follow_log
from argosy.models import Recorded, Replay
from argosy.transport import Transport


class _Events(Struct, frozen=True):
    items: list[Recorded]
    next_after: int | None = None
    position: int = 0


class _Folded(Struct, frozen=True):
    version: int
    folding_version: int = 0
    state: dict[str, Any] = {}


class Log:
    """`client.events`: everything that happened, in one order."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def head(self) -> int:
        """Return the position of the newest event, 0 while there is none."""
        return self._transport.get("/v1/events", _Events, query={"limit": 1}).position

    def read(
        self,
        *,
        after: int = 0,
        stream: str = "",
        types: Sequence[str] = (),
        most: int | None = None,
    ) -> Iterator[Recorded]:
        """Yield what is there after position `after`, oldest first, `most` at most."""
        left = most
        while left is None or left > 0:
            query = _query(stream, types) | {"after": after, "limit": min(200, left or 200)}
            found = self._transport.get("/v1/events", _Events, query=query)
            yield from found.items
            if found.next_after is None or not found.items:
                return
            after = found.next_after
            left = None if left is None else left - len(found.items)

    def follow(
        self,
        *,
        after: int = 0,
        stream: str = "",
        types: Sequence[str] = (),
        lost: Lost | None = None,
    ) -> Iterator[Recorded]:
        """Yield what is there and what comes, for ever. See `follow_log`."""
        return follow_log(self._transport, _query(stream, types), after=after, lost=lost)

    def history(self, stream: str, *, after: int = 0) -> Iterator[Recorded]:
        """Yield one stream's events and entries after version `after`."""
        path = f"/v1/streams/{quote(stream, safe='')}/events"
        while True:
            found = self._transport.get(path, _Events, query={"after": after, "limit": 200})
            yield from found.items
            if found.next_after is None or not found.items:
                return
            after = found.next_after

    def replay(self, stream: str, *, at: int | None = None) -> Replay:
        """Return a stream as it stood at version `at`, or now. Raises NotFound."""
        path = f"/v1/streams/{quote(stream, safe='')}"
        folded = self._transport.get(path, _Folded, query={"at": at})
        events: list[Recorded] = []
        for event in self.history(stream):
            if event.version > folded.version:
                break
            events.append(event)
        return Replay(
            stream=stream,
            version=folded.version,
            folding_version=folded.folding_version,
            events=events,
            state=folded.state,
        )


def _query(stream: str, types: Sequence[str]) -> dict[str, str | int | list[str] | None]:
    return {"stream": stream, "type": list(types)}
