"""Answers in Anthropic's format, for a client that speaks OpenAI's.

Thinking is left out: OpenAI's format has no place for it.
"""

import time
from typing import Any

import msgspec
from msgspec import Raw, Struct

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Usage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Block(Struct, frozen=True):
    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")


class _Message(Struct, frozen=True):
    id: str = ""
    model: str = ""
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: _Usage = msgspec.field(default_factory=_Usage)


class _Delta(Struct, frozen=True):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Error(Struct, frozen=True):
    type: str = ""
    message: str = ""


class _Event(Struct, frozen=True):
    type: str
    index: int = 0
    message: _Message = _Message()
    content_block: _Block | None = None
    delta: _Delta = _Delta()
    usage: _Usage | None = None
    error: _Error = _Error()


def for_openai(body: bytes) -> bytes:
    """Return a whole answer in OpenAI's format. Raises UNREADABLE."""
    answer = msgspec.json.decode(body, type=_Message)
    text = "".join(block.text for block in answer.content if block.type == "text")
    calls = [
        _tool_call(block.id, block.name, bytes(block.input).decode())
        for block in answer.content
        if block.type == "tool_use"
    ]
    message = {"role": "assistant", "content": text or None, "refusal": None}
    choice = {
        "index": 0,
        "message": message | ({"tool_calls": calls} if calls else {}),
        "logprobs": None,
        "finish_reason": _FINISH.get(answer.stop_reason or "", "stop"),
    }
    head = _head(answer, "chat.completion")
    return msgspec.json.encode(head | {"choices": [choice], "usage": _usage(answer.usage)})


class OpenAIStream:
    """Events of Anthropic's, one by one, as OpenAI's chunks.

    with_usage: whether the client asked for a last chunk with what was used.
    """

    def __init__(self, *, with_usage: bool) -> None:
        self.complete = False
        self._with_usage = with_usage
        self._head: dict[str, Any] = {}
        self._usage = _Usage()
        self._calls = 0
        self._empty_call = False  # the tool call being told has no arguments yet

    def feed(self, event: bytes) -> bytes:
        """Return what the client is told. Raises UNREADABLE."""
        told = msgspec.json.decode(event, type=_Event)
        match told.type:
            case "message_start":
                self._head = _head(told.message, "chat.completion.chunk")
                self._note(told.message.usage)
                return self._chunk({"role": "assistant", "content": ""})
            case "content_block_start" if told.content_block:
                return self._start(told.content_block)
            case "content_block_delta":
                return self._continue(told.delta)
            case "content_block_stop" if self._empty_call:
                return self._arguments("{}")
            case "message_delta":
                self._note(told.usage)
                finish = _FINISH.get(told.delta.stop_reason or "", "stop")
                return self._chunk({}, finish) if told.delta.stop_reason else b""
            case "message_stop":
                return self._stop()
            case "error":
                self.complete = True
                error = {"message": told.error.message, "type": told.error.type, "code": None}
                return b"data: %b\n\n" % msgspec.json.encode({"error": error})
            case "ping":
                return PING
            case _:
                return b""

    def close(self) -> bytes:
        """The provider says no more."""
        return b""

    def _start(self, block: _Block) -> bytes:
        if block.type == "tool_use":
            self._empty_call = True
            self._calls += 1
            call = {"index": self._calls - 1, **_tool_call(block.id, block.name, "")}
            return self._chunk({"tool_calls": [call]})
        return self._chunk({"content": block.text}) if block.text else b""

    def _continue(self, delta: _Delta) -> bytes:
        if delta.type == "text_delta":
            return self._chunk({"content": delta.text})
        if delta.type == "input_json_delta" and delta.partial_json:
            return self._arguments(delta.partial_json)
        return b""

    def _arguments(self, fragment: str) -> bytes:
        self._empty_call = False
        call = {"index": self._calls - 1, "function": {"arguments": fragment}}
        return self._chunk({"tool_calls": [call]})

    def _stop(self) -> bytes:
        self.complete = True
        if not self._with_usage:
            return DONE
        choices: list[Any] = []
        last = self._head | {"choices": choices, "usage": _usage(self._usage)}
        return b"data: %b\n\n" % msgspec.json.encode(last) + DONE

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"data: %b\n\n" % msgspec.json.encode({**self._head, "choices": [choice]})

    def _note(self, usage: _Usage | None) -> None:
        """Keep what is told: later numbers are totals too."""
        for name in _Usage.__struct_fields__ if usage else ():
            value = getattr(usage, name)
            if value is not None:
                setattr(self._usage, name, value)


def _head(answer: _Message, object: str) -> dict[str, Any]:
    return {"id": answer.id, "object": object, "created": int(time.time()), "model": answer.model}


def _tool_call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _usage(usage: _Usage) -> dict[str, Any]:
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    given, made = (usage.input_tokens or 0) + read + written, usage.output_tokens or 0
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": read},
    }
