"""A provider's answer, told to an agent in the other vendor's format."""

from collections.abc import AsyncIterator

import msgspec

from workers.gateway.answers import Begun, ProviderBroke, passed_on, told_error
from workers.gateway.exchange import MAX_BODY_BYTES, Exchange
from workers.gateway.model_calls import ModelCall
from workers.gateway.sse import Events, EventTooLarge
from workers.gateway.translations.translation import Stream, Translation
from workers.gateway.usage import Meter
from workers.gateway.vendors import (
    MAX_ERROR_BYTES,
    UNREADABLE,
    Format,
    error_content,
    error_message,
)


async def pass_translated(
    exchange: Exchange, answer: Begun, call: ModelCall, translation: Translation, format: Format
) -> None:
    """Send the agent what the provider says. Raises OutboundFailed, ProviderBroke, AgentGone."""
    if answer.status >= 400:
        await _pass_error(exchange, answer, call, format)
        return
    if answer.is_stream != call.streamed:
        raise ProviderBroke(
            f'Model provider "{answer.name}" '
            + ("answered a stream, unasked." if answer.is_stream else "did not stream its answer.")
        )
    meter = Meter(streamed=call.streamed)
    try:
        if call.streamed:
            await _pass_stream(exchange, answer, call, meter, translation.stream)
        else:
            await _pass_whole(exchange, answer, call, meter, translation)
    finally:
        call.count(meter)
    call.error = call.failure


async def _pass_error(exchange: Exchange, answer: Begun, call: ModelCall, format: Format) -> None:
    said = bytearray()
    async for chunk in answer.chunks():
        said += chunk[: MAX_ERROR_BYTES - len(said)]
    message = error_message(bytes(said)) or f"The provider answered {answer.status}."
    content = error_content(format, answer.status, message, f"provider-{answer.status}")
    await _send_whole(exchange, answer, call, msgspec.json.encode(content))
    call.error = told_error(answer, bytes(said))


async def _pass_whole(
    exchange: Exchange, answer: Begun, call: ModelCall, meter: Meter, translation: Translation
) -> None:
    whole = bytearray()
    async for chunk in answer.chunks():
        whole += chunk
        if len(whole) > MAX_BODY_BYTES:
            raise ProviderBroke(f'Model provider "{answer.name}" answered too much to translate.')
    body = bytes(whole)
    meter.feed(body)
    try:
        told = translation.whole(body)
    except UNREADABLE as error:
        raise ProviderBroke(
            f'Model provider "{answer.name}" answered what is not of its format: {error}'
        ) from None
    await _send_whole(exchange, answer, call, told)


async def _send_whole(exchange: Exchange, answer: Begun, call: ModelCall, body: bytes) -> None:
    given = {"content-type": "application/json", "content-length": str(len(body))}
    await exchange.start(answer.status, passed_on(answer.headers) | given)
    call.first_byte()
    await exchange.send(body)
    await exchange.end()


async def _pass_stream(
    exchange: Exchange, answer: Begun, call: ModelCall, meter: Meter, stream: Stream
) -> None:
    headers = passed_on(answer.headers) | {"content-type": "text/event-stream"}
    headers.pop("content-length", None)
    await exchange.start(answer.status, headers)
    try:
        async for told in _told(answer, meter, stream):
            call.first_byte()
            await exchange.send(told)
    except EventTooLarge:
        raise ProviderBroke(f'Model provider "{answer.name}" sent too large an event.') from None
    except UNREADABLE as error:
        raise ProviderBroke(
            f'Model provider "{answer.name}" sent an event that is not of its format: {error}'
        ) from None
    if not stream.complete:
        raise ProviderBroke(f'Model provider "{answer.name}" ended its stream in the middle.')
    await exchange.end()


async def _told(answer: Begun, meter: Meter, stream: Stream) -> AsyncIterator[bytes]:
    """Yield what the agent is told of each part of a stream, as soon as it can be told."""
    events = Events()
    async for chunk in answer.chunks():
        meter.feed(chunk)
        if told := b"".join([stream.feed(event) for event in events.feed(chunk)]):
            yield told
    told = b"".join([stream.feed(event) for event in events.close()]) + stream.close()
    if told:
        yield told
