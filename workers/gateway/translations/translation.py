"""From one vendor's format to the other's and back: pure, so that it is tested without a network.

See `docs/decisions/*-formats-are-translated-here.md` for why no library does it.
"""

from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from domain.errors import Malformed
from workers.gateway.translations import (
    anthropic_answers,
    anthropic_requests,
    openai_answers,
    openai_requests,
)
from workers.gateway.vendors import UNREADABLE, Format

# Who wants the limit of an answer by its new name, of which others know nothing.
OPENAI = "api.openai.com"


class Stream(Protocol):
    """Tells a streamed answer in the other format, event by event.

    complete: whether the answer came to its end.
    """

    complete: bool

    def feed(self, event: bytes) -> bytes:
        """Return what the client is told. Raises UNREADABLE for what is no event."""
        ...

    def close(self) -> bytes:
        """Return what is left to be told when the provider says no more."""
        ...


class Translation(Struct, frozen=True):
    """A request in the provider's format, and how its answer is told in the client's."""

    body: bytes
    whole: Callable[[bytes], bytes]
    stream: Stream


def translate(body: bytes, into: Format, url: str) -> Translation:
    """Translate a request for a provider at `url`. Raises Malformed."""
    try:
        return _into_anthropic(body) if into == "anthropic" else _into_openai(body, url)
    except UNREADABLE as error:
        vendor = "Anthropic's" if into == "anthropic" else "OpenAI's"
        raise Malformed(f"This cannot be said in {vendor} format: {error}") from None


def _into_anthropic(body: bytes) -> Translation:
    request = msgspec.json.decode(body, type=openai_requests.Request)
    return Translation(
        msgspec.json.encode(openai_requests.for_anthropic(request)),
        anthropic_answers.for_openai,
        anthropic_answers.OpenAIStream(with_usage=request.wants_usage),
    )


def _into_openai(body: bytes, url: str) -> Translation:
    request = msgspec.json.decode(body, type=anthropic_requests.Request)
    limit = "max_completion_tokens" if urlsplit(url).hostname == OPENAI else "max_tokens"
    return Translation(
        msgspec.json.encode(anthropic_requests.for_openai(request, limit)),
        openai_answers.for_anthropic,
        openai_answers.AnthropicStream(),
    )
