"""Reading along: events in pieces, usage of either vendor, calls a minute."""

import pytest

from domain.errors import LimitReached
from domain.models import Usage
from workers.gateway.paces import Paces
from workers.gateway.sse import MAX_EVENT_BYTES, Events, EventTooLarge
from workers.gateway.usage import MAX_METERED_BYTES, Meter

STREAM = (
    b": a comment\r\n\r\nevent: message_start\r\nid: 1\r\n"
    b'data: {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1,'
    b' "cache_creation_input_tokens": 4}}}\r\n\r\n'
    b'data: {"type": "message_delta",\ndata: "usage": {"output_tokens": 9}}\n\n'
    b'data:{"type": "message_stop"}\n\n'
)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_found_in_chunks_of_any_size(size: int) -> None:
    events = Events()

    found = [
        event for n in range(0, len(STREAM), size) for event in events.feed(STREAM[n : n + size])
    ]

    assert len(found) == 3
    assert found[1] == b'{"type": "message_delta",\n"usage": {"output_tokens": 9}}'
    assert found[2] == b'{"type": "message_stop"}'
    assert events.close() == []


def test_a_last_event_without_its_empty_line_is_found_at_the_end() -> None:
    events = Events()

    assert events.feed(b"data: [DONE]\n") == []
    assert events.close() == [b"[DONE]"]


@pytest.mark.parametrize("piece", [b"x" * 65_536, b"data: " + b"x" * 65_536 + b"\n"])
def test_what_is_no_event_is_not_kept_for_ever(piece: bytes) -> None:
    events = Events()

    for _ in range(MAX_EVENT_BYTES // len(piece)):
        events.feed(piece)

    with pytest.raises(EventTooLarge):
        events.feed(piece + piece)


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_the_last_totals_of_a_stream_count(size: int) -> None:
    meter = Meter(streamed=True)

    for n in range(0, len(STREAM), size):
        assert not meter.complete
        meter.feed(STREAM[n : n + size])
    meter.close()

    assert meter.complete
    assert meter.usage == Usage(input=7, output=9, cache_write=4)


@pytest.mark.parametrize(
    ("end", "complete"),
    [
        (b"data: [DONE]\n\n", True),
        (b'data: {"choices": [{"finish_reason": "length"}]}\n\n', True),
        (b'data: {"error": {"message": "Overloaded"}}\n\n', True),
        (b'data: {"choices": [{"finish_reason": null}], "usage": null}\n\n', False),
        (b"data: [DONE", False),
    ],
)
def test_a_stream_is_complete_when_it_says_so(end: bytes, complete: bool) -> None:
    meter = Meter(streamed=True)

    meter.feed(end)
    meter.close()

    assert meter.complete is complete
    assert meter.usage is None


@pytest.mark.parametrize("streamed", [False, True])
def test_too_much_to_read_along_is_let_pass(streamed: bool) -> None:
    meter = Meter(streamed=streamed)

    for _ in range(MAX_METERED_BYTES // 65_536 + 2):
        meter.feed(b"x" * 65_536)
    meter.close()

    assert (meter.complete, meter.usage) == (True, None)


def test_calls_are_counted_by_provider_and_workspace() -> None:
    paces = Paces()
    for _ in range(2):
        paces.take("w", "a", 2)

    with pytest.raises(LimitReached) as refused:
        paces.take("w", "a", 2)

    assert 59 <= int(str(refused.value.members["retry_after"])) <= 60
    for workspace, provider, most in (("w", "b", 2), ("v", "a", 2), ("w", "a", 3), ("w", "a", 0)):
        paces.take(workspace, provider, most)
