"""Answers in OpenAI's format, for a client that speaks Anthropic's."""

from typing import Any

import msgspec
from msgspec import Struct

# Of tool calls that are told beside another one; see AnthropicStream.
MAX_HELD_CHARACTERS = 4 << 20
HELD_CHARACTERS = 64  # what a part counts beside its text, so that many empty ones count

_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


class TooMuchHeld(msgspec.DecodeError):
    """A stream tells more at once than can be kept apart."""


class _Details(Struct, frozen=True):
    cached_tokens: int | None = None


class _Usage(Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Function(Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: _Function = _Function()


class _Said(Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(Struct, frozen=True):
    message: _Said = _Said()
    delta: _Said = _Said()
    finish_reason: str | None = None


class _Error(Struct, frozen=True):
    message: str = ""


class _Answer(Struct, frozen=True):
    """An answer, or a chunk of a streamed one."""

    id: str = ""
    model: str = ""
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _Error | None = None


def for_anthropic(body: bytes) -> bytes:
    """Return a whole answer in Anthropic's format. Raises UNREADABLE."""
    answer = msgspec.json.decode(body, type=_Answer)
    if not answer.choices:
        raise msgspec.ValidationError("There is no choice in it")
    choice = answer.choices[0]
    said = choice.message
    text = (said.content or "") + (said.refusal or "")
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    for call in said.tool_calls or ():
        given = msgspec.json.decode(call.function.arguments or "{}", type=dict[str, Any])
        content.append(_tool_use(call.id or "", call.function.name or "", given))
    message = _message(answer, content) | {"usage": _usage(answer.usage)}
    message["stop_reason"] = _stop_reason(
        choice.finish_reason, bool(said.tool_calls), bool(said.refusal)
    )
    return msgspec.json.encode(message)


class _Open(Struct):
    """A tool call that is being told. `held`: its arguments, unless they are passed on at once."""

    id: str
    name: str
    held: list[str] = []


class AnthropicStream:
    """OpenAI's chunks, one by one, as events of Anthropic's.

    Blocks follow one another in Anthropic's format, and tool calls may be told side by side in
    OpenAI's: the first is passed on as it comes, what is told beside it after its end.
    """

    def __init__(self) -> None:
        self.complete = False
        self._started = False
        self._block = -1  # index of the last block
        self._in_text = False
        self._calls: list[_Open] = []
        self._by_index: dict[int, _Open] = {}
        self._late_text: list[str] = []
        self._held = 0
        self._finish: str | None = None
        self._refused = False
        self._usage: _Usage | None = None

    def feed(self, event: bytes) -> bytes:
        """Return what the client is told. Raises UNREADABLE."""
        if event == b"[DONE]":
            return self._stop()
        chunk = msgspec.json.decode(event, type=_Answer)
        if chunk.error is not None:
            self.complete = True
            error = {"type": "api_error", "message": chunk.error.message}
            return _event({"type": "error", "error": error})
        out = b"" if self._started else self._start(chunk)
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices[:1]:
            out += self._say(choice.delta)
            self._finish = choice.finish_reason or self._finish
        return out

    def close(self) -> bytes:
        """The provider says no more; not all of them say that it is done."""
        return self._stop() if self._finish and not self.complete else b""

    def _start(self, chunk: _Answer) -> bytes:
        self._started = True
        message = _message(chunk, []) | {"stop_reason": None, "usage": _usage(None)}
        return _event({"type": "message_start", "message": message})

    def _say(self, delta: _Said) -> bytes:
        out = b""
        self._refused = self._refused or bool(delta.refusal)
        if text := (delta.content or "") + (delta.refusal or ""):
            out += self._text(text)
        for call in delta.tool_calls or ():
            out += self._call(call)
        return out

    def _text(self, text: str) -> bytes:
        if self._calls:
            self._hold(self._late_text, text)
            return b""
        out = b"" if self._in_text else self._open({"type": "text", "text": ""})
        self._in_text = True
        return out + self._delta({"type": "text_delta", "text": text})

    def _call(self, told: _ToolCall) -> bytes:
        out, call = b"", self._known(told)
        if call is None:
            call = _Open(told.id or "", told.function.name or "")
            self._count(len(call.id) + len(call.name))
            self._calls.append(call)
            self._by_index[told.index or 0] = call
            if len(self._calls) == 1:
                out = self._close_text() + self._open(_tool_use(call.id, call.name, {}))
        fragment = told.function.arguments or ""
        if call is self._calls[0]:
            return out + (self._arguments(fragment) if fragment else b"")
        self._hold(call.held, fragment)
        return out

    def _known(self, told: _ToolCall) -> _Open | None:
        """Return the call that is gone on with. Some providers give each of several the index 0."""
        call = self._by_index.get(told.index or 0)
        return None if call is None or (told.id and told.id != call.id) else call

    def _hold(self, kept: list[str], text: str) -> None:
        if text:
            self._count(len(text))
            kept.append(text)

    def _count(self, characters: int) -> None:
        self._held += characters + HELD_CHARACTERS
        if self._held > MAX_HELD_CHARACTERS:
            raise TooMuchHeld

    def _stop(self) -> bytes:
        if self.complete or not self._started:
            return b""
        self.complete = True
        out = self._close_text()
        for number, call in enumerate(self._calls):
            if number:
                out += self._open(_tool_use(call.id, call.name, {}))
                out += self._arguments("".join(call.held))
            out += self._close()
        if self._late_text:
            out += self._open({"type": "text", "text": ""})
            out += self._delta({"type": "text_delta", "text": "".join(self._late_text)})
            out += self._close()
        reason = _stop_reason(self._finish, bool(self._calls), self._refused)
        delta = {"stop_reason": reason, "stop_sequence": None}
        last = {"type": "message_delta", "delta": delta, "usage": _usage(self._usage)}
        return out + _event(last) + _event({"type": "message_stop"})

    def _open(self, block: dict[str, Any]) -> bytes:
        self._block += 1
        start = {"type": "content_block_start", "index": self._block, "content_block": block}
        return _event(start)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event({"type": "content_block_delta", "index": self._block, "delta": delta})

    def _arguments(self, fragment: str) -> bytes:
        return self._delta({"type": "input_json_delta", "partial_json": fragment})

    def _close_text(self) -> bytes:
        was, self._in_text = self._in_text, False
        return self._close() if was else b""

    def _close(self) -> bytes:
        return _event({"type": "content_block_stop", "index": self._block})


def _event(content: dict[str, Any]) -> bytes:
    name = content["type"].encode()
    return b"event: %b\ndata: %b\n\n" % (name, msgspec.json.encode(content))


def _message(answer: _Answer, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_sequence": None,
    }


def _tool_use(id: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": given}


def _stop_reason(finish: str | None, calls: bool, refused: bool) -> str:
    """Return why it ended. Some providers say `stop` when they call tools."""
    if refused:
        return "refusal"
    if calls and finish != "length":
        return "tool_use"
    return _STOP.get(finish or "", "end_turn")


def _usage(usage: _Usage | None) -> dict[str, int]:
    usage = usage or _Usage()
    details = usage.prompt_tokens_details
    read = (details.cached_tokens if details else 0) or 0
    return {
        "input_tokens": max(0, (usage.prompt_tokens or 0) - read),
        "output_tokens": usage.completion_tokens or 0,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": 0,
    }
