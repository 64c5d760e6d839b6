"""What providers of models answer, and what agents ask them: read, refused, and never held."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Malformed
from tests.fuzzing.effort import examples, is_long
from tests.fuzzing.growth import deep, grows_evenly, holding_at_most
from tests.fuzzing.mutations import cut, mutated
from workers.gateway.sse import MAX_EVENT_BYTES, Events, EventTooLarge
from workers.gateway.translations.anthropic_answers import OpenAIStream, for_openai
from workers.gateway.translations.openai_answers import AnthropicStream, TooMuchHeld, for_anthropic
from workers.gateway.translations.translation import Stream, translate
from workers.gateway.usage import Meter
from workers.gateway.vendors import UNREADABLE, Format, error_message

USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
TOOL = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a": 1}'}}
OPENAI_EVENTS: list[Any] = [
    {"id": "1", "model": "m", "choices": [{"delta": {"role": "assistant", "content": "Hi"}}]},
    {"choices": [{"delta": {"tool_calls": [TOOL, {**TOOL, "index": 1, "id": "c2"}]}}]},
    {"choices": [{"delta": {}, "finish_reason": "tool_calls"}], "usage": USAGE},
    {"error": {"message": "no"}},
]
ANTHROPIC_EVENTS: list[Any] = [
    {"type": "message_start", "message": {"id": "1", "model": "m", "usage": {"input_tokens": 3}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_start", "content_block": {"type": "tool_use", "id": "c", "name": "f"}},
    {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
    {"type": "error", "error": {"type": "overloaded_error", "message": "no"}},
]
OPENAI_WHOLE = {
    "id": "1",
    "choices": [{"message": {"content": "Hi", "tool_calls": [TOOL]}, "finish_reason": "stop"}],
    "usage": USAGE,
}
ANTHROPIC_WHOLE = {
    "id": "1",
    "content": [{"type": "text", "text": "Hi"}, {"type": "tool_use", "id": "c", "input": {"a": 1}}],
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
CALL = {"id": "c", "function": {"name": "f", "arguments": '{"a": [1]}'}}
OPENAI_REQUEST = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "2"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "stream": True,
}
ANTHROPIC_REQUEST = {
    "model": "m",
    "max_tokens": 9,
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "2"}]},
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}],
}
LEAVES = ['"\\ud800"', "1e999", "9" * 6000, "9" * 400, "-0", '"\\u0000"', "{}", "[]", "null", '""']


def events(told: Iterable[Any]) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in told)


@given(st.sampled_from([OPENAI_EVENTS, ANTHROPIC_EVENTS]), st.data())
@settings(max_examples=examples(150))
def test_a_stream_of_anything_is_told_or_refused(told: list[Any], data: st.DataObject) -> None:
    """Whatever the bytes are, and however they come: events are told, or it says what is wrong."""
    stream = data.draw(mutated(events(told), LEAVES))
    for make in (AnthropicStream, lambda: OpenAIStream(with_usage=True)):
        translation: Stream = make()
        meter, found = Meter(streamed=True), Events()
        try:
            for chunk in cut(stream, data):
                meter.feed(chunk)
                for event in found.feed(chunk):
                    assert isinstance(translation.feed(event), bytes)
            translation.close()
        except (*UNREADABLE, EventTooLarge):
            pass
        meter.close()


@given(st.sampled_from([(OPENAI_WHOLE, for_anthropic), (ANTHROPIC_WHOLE, for_openai)]), st.data())
@settings(max_examples=examples(150))
def test_an_answer_of_anything_is_told_or_refused(
    what: tuple[dict[str, Any], Callable[[bytes], bytes]], data: st.DataObject
) -> None:
    answer, tell = what
    body = data.draw(mutated(json.dumps(answer).encode(), LEAVES))
    meter = Meter(streamed=False)
    meter.feed(body)
    meter.close()
    error_message(body)
    try:
        told = tell(body)
    except UNREADABLE:
        return
    assert isinstance(msgspec.json.decode(told), dict)


@given(st.sampled_from([(OPENAI_REQUEST, "anthropic"), (ANTHROPIC_REQUEST, "openai")]), st.data())
@settings(max_examples=examples(150))
def test_a_request_of_anything_is_translated_or_refused(
    what: tuple[dict[str, Any], Format], data: st.DataObject
) -> None:
    request, into = what
    body = data.draw(mutated(json.dumps(request).encode(), LEAVES))
    try:
        translated = translate(body, into, "https://example.com/v1").body
    except Malformed:
        return
    assert isinstance(msgspec.json.decode(translated), dict)


@pytest.mark.parametrize("piece", [b"x", b"data: x", b"data:\ndata:\n", b"\r\n:\n"], ids=repr)
def test_no_stream_is_held(piece: bytes) -> None:
    """Much of what never becomes an event end as one that is too large, or are forgotten."""
    found, chunk = Events(), piece * (65_536 // len(piece))

    with holding_at_most(24 * MAX_EVENT_BYTES / 1e6):
        for _ in range(1_600 if is_long() else 200):
            try:
                found.feed(chunk)
            except EventTooLarge:
                break


def test_a_long_line_is_looked_through_once() -> None:
    def feed(size: int) -> None:
        found = Events()
        for _ in range(size // 64):
            found.feed(b"x" * 64)

    grows_evenly(feed, 400_000)


@pytest.mark.parametrize("arguments", ["", "x"], ids=["new ones", "parts of them"])
def test_calls_side_by_side_are_not_held_for_ever(arguments: str) -> None:
    stream, different = AnthropicStream(), 3 if arguments else 1_000_000

    def tell() -> None:
        for start in range(0, 200_000, 1_000):
            numbers = [number % different for number in range(start, start + 1_000)]
            calls = [
                {"index": n, "id": f"c{n}", "function": {"name": "f", "arguments": arguments}}
                for n in numbers
            ]
            stream.feed(json.dumps({"choices": [{"delta": {"tool_calls": calls}}]}).encode())

    with holding_at_most(64), pytest.raises(TooMuchHeld):
        tell()


@pytest.mark.parametrize("body", ['{"model":"m","messages":', '{"choices":', '{"error":', ""])
def test_what_is_nested_for_ever_is_unreadable(body: str) -> None:
    nested = f"{body}{deep()}".encode()
    meter = Meter(streamed=False)
    meter.feed(nested)
    meter.close()

    assert error_message(nested)
    for into in ("anthropic", "openai"):
        with pytest.raises(Malformed):
            translate(nested, into, "")
    for tell in (for_anthropic, for_openai):
        with pytest.raises(UNREADABLE):
            tell(nested)
