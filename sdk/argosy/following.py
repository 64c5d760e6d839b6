"""Following a stream to its end or for ever, over any number of connections."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec

from argosy.errors import LimitReached, StreamLost, Unavailable, UnreadableAnswer
from argosy.models import LiveEvent, Recorded, live_event
from argosy.sse import Frame, frames
from argosy.transport import Query, Transport, delay

PATIENCE_SECONDS = 60.0  # without a connection, before following is given up
STEADY_SECONDS = 1.0  # a connection that lasted this long is followed by another at once

Lost = Callable[[str], None]
"""Told why a connection was lost, before the next is made."""


def follow_live(
    transport: Transport, path: str, *, after: int, lost: Lost | None = None
) -> Iterator[LiveEvent]:
    """Yield a run's or build's events after version `after`, and deltas; ends after `complete`.

    A dropped connection is resumed: no version comes twice, none is missing. Raises StreamLost when
    that fails for 60 s, and a Refused when the server says so.
    """
    for frame in _resumed(transport, path, None, after=after, gapless=True, lost=lost):
        event = _live(frame)
        yield event
        if event.last:
            return


def follow_log(
    transport: Transport, query: Query, *, after: int, lost: Lost | None = None
) -> Iterator[Recorded]:
    """Yield the log's events after position `after`, for ever; otherwise as `follow_live`."""
    filtered = any(query.values())
    for frame in _resumed(
        transport, "/v1/events", query, after=after, gapless=not filtered, lost=lost
    ):
        try:
            yield msgspec.json.decode(frame.data, type=Recorded)
        except msgspec.DecodeError as error:
            raise UnreadableAnswer(f"A frame of the log cannot be read: {error}") from None


def _resumed(
    transport: Transport,
    path: str,
    query: Query | None,
    *,
    after: int,
    gapless: bool,
    lost: Lost | None,
) -> Iterator[Frame]:
    """Yield frames, numbered ones once and in order; the caller decides when it has enough."""
    failures = 0
    heard = time.monotonic()
    while True:
        why = "the server closed the connection"
        opened: float | None = None
        try:
            with transport.stream(path, query, after) as answer:
                opened = time.monotonic()
                for frame in frames(answer.iter_bytes()):
                    number = int(frame.id) if frame.id.isdecimal() else None
                    if number is not None:
                        if number <= after:
                            continue
                        if gapless and number > after + 1:
                            why = f"{number - after - 1} events before {number} are missing"
                            opened = None  # nothing was heard: a gap that stays is given up
                            break
                        after, failures = number, 0
                    yield frame
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
        except (Unavailable, LimitReached) as error:
            why = error.detail
        now = time.monotonic()
        if opened is not None:
            heard = now
            failures = 0 if now - opened > STEADY_SECONDS else failures
        if now - heard > PATIENCE_SECONDS:
            raise StreamLost(f"The stream {path} was lost: {why}", after)
        if lost is not None:
            lost(why)
        time.sleep(delay(failures))
        failures += 1


def _live(frame: Frame) -> LiveEvent:
    try:
        sent = msgspec.json.decode(frame.data, type=dict[str, Any])
        return live_event({"type": frame.event, **sent})
    except msgspec.DecodeError as error:
        raise UnreadableAnswer(f"A frame cannot be read: {error}") from None
