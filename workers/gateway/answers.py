"""A provider's answer on its way to the agent: as it comes, no faster than the agent reads.

Bytes pass untouched but for our key, which is masked wherever a provider repeats it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from domain.errors import ArgosyError
from workers.gateway.exchange import Exchange
from workers.gateway.masks import Mask
from workers.gateway.model_calls import ModelCall
from workers.gateway.outbound import Answer, OutboundFailed, OutboundRefused
from workers.gateway.usage import Meter
from workers.gateway.vendors import MAX_ERROR_BYTES, error_message

# Until an answer begins: models may think for long, and what is not streamed begins when it ends.
HEAD_SECONDS = 600.0
# Between two parts of it.
IDLE_SECONDS = 300.0

# What an agent can use of an answer's head. The rest is between the provider and us.
_PASSED_ON = {
    "cache-control",
    "content-length",
    "content-type",
    "date",
    "openai-model",
    "openai-processing-ms",
    "openai-version",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-request-id",
    "x-should-retry",
}
_PASSED_ON_BEGINNINGS = ("anthropic-ratelimit-", "ratelimit-", "x-ratelimit-")


class ProviderTimedOut(ArgosyError):
    """The model provider did not begin to answer in time. The same call may work later."""

    type = "provider-timed-out"
    title = "The model provider is too slow"
    status = 504


class ProviderBroke(ArgosyError):
    """The model provider answered half of something, or nothing that a client could read."""

    type = "provider-broke"
    title = "The model provider's answer cannot be used"
    status = 502


class Begun:
    """An answer that has begun, without the key that it was asked with."""

    def __init__(self, answer: Answer, name: str, mask: Mask) -> None:
        self.name = name
        self.status = answer.status
        self.headers: Mapping[str, str] = {
            field: mask.text(value) for field, value in answer.headers.items()
        }
        self.is_stream = self.headers.get("content-type", "").startswith("text/event-stream")
        self._answer = answer
        self._mask = mask

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises OutboundFailed where it breaks off."""
        parts, seconds = aiter(self._answer.chunks()), HEAD_SECONDS
        while (chunk := await self._next(parts, seconds)) is not None:
            seconds = IDLE_SECONDS
            if masked := self._mask.feed(chunk):
                yield masked
        if rest := self._mask.close():
            yield rest

    async def _next(self, parts: AsyncIterator[bytes], seconds: float) -> bytes | None:
        try:
            async with asyncio.timeout(seconds):
                return await anext(parts, None)
        except TimeoutError:
            raise OutboundFailed(f"Nothing more came for {seconds:g} s.") from None


@asynccontextmanager
async def begun(
    request: AbstractAsyncContextManager[Answer], name: str, mask: Mask
) -> AsyncGenerator[Begun]:
    """Yield a provider's answer when it begins. Raises what it says of the provider."""
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                answer = await stack.enter_async_context(request)
        except TimeoutError:
            raise ProviderTimedOut(
                f'Model provider "{name}" did not answer within {HEAD_SECONDS:g} s.'
            ) from None
        except OutboundFailed as failed:
            raise ProviderBroke(f'Model provider "{name}": {mask.text(failed.detail)}') from None
        except OutboundRefused as refused:
            raise OutboundRefused(f'Model provider "{name}": {refused.detail}') from None
        _check(answer, name)
        try:
            yield Begun(answer, name, mask)
        except OutboundFailed as failed:
            raise ProviderBroke(f'Model provider "{name}": {mask.text(failed.detail)}') from None


def _check(answer: Answer, name: str) -> None:
    if 300 <= answer.status < 400:
        raise ProviderBroke(
            f'Model provider "{name}" answered {answer.status}, a redirect; '
            "its endpoint must be the address that it redirects to."
        )
    encoding = answer.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise ProviderBroke(f'Model provider "{name}" answered in {encoding}, which nobody asked.')


async def pass_on(exchange: Exchange, answer: Begun, call: ModelCall) -> None:
    """Send the agent what the provider says. Raises OutboundFailed, ProviderBroke, AgentGone."""
    meter = Meter(streamed=answer.is_stream)
    said = bytearray()
    try:
        await exchange.start(answer.status, passed_on(answer.headers))
        async for chunk in answer.chunks():
            call.first_byte()
            meter.feed(chunk)
            if answer.status >= 400:
                said += chunk[: MAX_ERROR_BYTES - len(said)]
            await exchange.send(chunk)
    finally:
        call.count(meter)
    if not meter.complete:
        raise ProviderBroke(f'Model provider "{answer.name}" ended its stream in the middle.')
    await exchange.end()
    call.error = told_error(answer, bytes(said)) or call.failure


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what an agent is told of an answer's head."""
    return {
        name: value
        for name, value in headers.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_BEGINNINGS)
    }


def told_error(answer: Begun, body: bytes) -> str:
    """Return what is written down of an answer: nothing if it is a good one."""
    if answer.status < 400:
        return ""
    return f'Model provider "{answer.name}" answered {answer.status}: {error_message(body)}'
