"""What a model call used, read beside the answer that passes by.

OpenAI tells the usage of a streamed answer only to a client that asked (`stream_options`), and what
an agent asked is passed on as it is. Where nothing is told, 0 tokens and no cost are recorded.
"""

from typing import Any

import msgspec
from msgspec import Struct

from domain.models import Usage
from workers.gateway.sse import Events, EventTooLarge
from workers.gateway.vendors import UNREADABLE, error_message

# Of a whole answer in JSON. A larger one passes all the same.
MAX_METERED_BYTES = 4 << 20


class _Details(Struct):
    cached_tokens: int | None = None


class _Tokens(Struct):
    """What either vendor calls it."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Message(Struct):
    usage: _Tokens | None = None
    model: Any = None


class _Choice(Struct):
    finish_reason: str | None = None


class _Piece(Struct):
    """An answer, or an event of a streamed one, of either vendor."""

    type: str = ""
    model: Any = None
    usage: _Tokens | None = None
    message: Any = None  # an object in Anthropic's first event, anything in an error
    choices: list[_Choice] | None = None
    error: Any = None  # whatever a provider says that went wrong


_decode = msgspec.json.Decoder(_Piece).decode


class Meter:
    """Reads usage from an answer's bytes; gives up silently where it cannot.

    model: what the provider says that answered, empty if nothing.
    failure: what a stream says that went wrong in it, empty if nothing.
    complete: whether a streamed answer came to its end, as far as can be told: half a stream may
    end as a whole one does.
    """

    def __init__(self, *, streamed: bool) -> None:
        self._events = Events() if streamed else None
        self._whole = bytearray()
        self._reading = True
        self._ended = False
        self._tokens = _Tokens()
        self._told = False
        self.model = ""
        self.failure = ""

    def feed(self, chunk: bytes) -> None:
        """Take a part of the answer."""
        if not self._reading:
            return
        if self._events is None:
            self._whole += chunk
            self._reading = len(self._whole) <= MAX_METERED_BYTES
            return
        try:
            events = self._events.feed(chunk)
        except EventTooLarge:
            self._reading = False
            return
        for event in events:
            self._read(event)

    def close(self) -> None:
        """The answer is over."""
        if not self._reading:
            self._whole.clear()
        elif self._events is None:
            self._read(bytes(self._whole))
        else:
            for event in self._events.close():
                self._read(event)

    @property
    def complete(self) -> bool:
        """Whether the answer came to its end."""
        return self._ended or not self._reading or self._events is None

    @property
    def usage(self) -> Usage | None:
        """The tokens told so far, None if nothing was told."""
        tokens = self._tokens
        if not self._told:
            return None
        if tokens.input_tokens is None:
            details = tokens.prompt_tokens_details
            return Usage(
                input=tokens.prompt_tokens or 0,
                output=tokens.completion_tokens or tokens.output_tokens or 0,
                cache_read=(details.cached_tokens if details else 0) or 0,
            )
        read, written = tokens.cache_read_input_tokens, tokens.cache_creation_input_tokens
        return Usage(
            input=tokens.input_tokens + (read or 0) + (written or 0),
            output=tokens.output_tokens or 0,
            cache_read=read or 0,
            cache_write=written or 0,
        )

    def _read(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._ended = True
            return
        try:
            piece = _decode(data)
            if piece.type == "message_start":
                message = msgspec.convert(piece.message, _Message)
                piece.model = message.model
                self._note(message.usage)
        except UNREADABLE:
            return
        self._note(piece.usage)
        if isinstance(piece.model, str):
            self.model = piece.model
        if piece.error is not None and self._events is not None:
            self.failure = f"The provider failed in the middle: {error_message(data)}"
        finished = any(choice.finish_reason for choice in piece.choices or ())
        if finished or piece.error is not None or piece.type == "message_stop":
            self._ended = True

    def _note(self, tokens: _Tokens | None) -> None:
        """Keep what is told: later numbers are totals too."""
        if tokens is None:
            return
        self._told = True
        for name in _Tokens.__struct_fields__:
            value = getattr(tokens, name)
            if value is not None:
                setattr(self._tokens, name, value)
