"""Providers that fail in every way that there is: the agent sees an honest error each time."""

import asyncio
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.providers import FakeProvider, events, json_answer, raw, stream_answer
from tests.workers.gateway.test_models import ANSWER, ASK, CHAT, CHUNKS, STREAM
from tests.workers.gateway.worlds import KEY, open_agent, openai_at
from tests.workers.gateways import until
from workers.gateway import answers


async def test_a_rate_limit_is_passed_on_with_when_to_come_back(provider: FakeProvider) -> None:
    content = {"error": {"message": "Slow down.", "type": "requests", "code": "rate_limit"}}
    provider.will(json_answer(content, 429, {"retry-after": "17"}))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        answer = await agent.ask(CHAT, ASK)
        call = await agent.call()

    assert (answer.status_code, answer.json()) == (429, content)
    assert answer.headers["retry-after"] == "17"
    assert call.status == 429
    assert call.error == 'Model provider "mine" answered 429: Slow down.'


async def test_a_failing_provider_is_shown_as_it_fails(provider: FakeProvider) -> None:
    provider.will(json_answer(b"<html>oops</html>", 500))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        answer = await agent.ask(CHAT, ASK)
        call = await agent.call()

    assert (answer.status_code, answer.content) == (500, b"<html>oops</html>")
    assert call.error == 'Model provider "mine" answered 500: <html>oops</html>'


async def test_our_key_is_masked_wherever_the_provider_repeats_it(provider: FakeProvider) -> None:
    body = b'{"error": {"message": "Incorrect API key provided: %b"}}' % KEY.encode()
    head = b"HTTP/1.1 401 No\r\nx-request-id: %b\r\ncontent-length: %d\r\n\r\n"
    parts = [body[n : n + 1] for n in range(len(body))]
    provider.will(raw(head % (KEY.encode(), len(body)), *parts))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        answer = await agent.ask(CHAT, ASK)
        call = await agent.call()

    assert answer.status_code == 401
    assert "Incorrect API key provided: ****" in answer.text
    assert KEY not in f"{answer.text}{answer.headers}{call}"
    assert len(answer.content) == len(body)


async def test_a_key_in_pieces_of_a_stream_is_masked_and_the_rest_is_not_held_back(
    provider: FakeProvider,
) -> None:
    told = CHUNKS[0].replace(b"hel", KEY.encode())
    at = told.index(KEY.encode()) + 7
    provider.will(stream_answer([told[:at], told[at:], *CHUNKS[1:]]))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        answer = await agent.ask(CHAT, STREAM)

    expected = b"".join([told, *CHUNKS[1:]]).replace(KEY.encode(), b"*" * len(KEY))
    assert answer.content == expected


async def test_a_provider_that_does_not_begin_is_given_up(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "HEAD_SECONDS", 0.05)
    provider.will(provider.held(raw(), json_answer(ANSWER)))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        answer = await agent.ask(CHAT, ASK)
        call = await agent.call()
        await until(provider.ended.is_set)

    assert (answer.status_code, call.status) == (504, 504)
    assert (
        answer.json()["error"]["message"] == 'Model provider "mine" did not answer within 0.05 s.'
    )


async def test_a_stream_that_stops_is_broken_off(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "IDLE_SECONDS", 0.1)
    provider.will(provider.held(stream_answer(CHUNKS[:1], ended=False), raw()))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        with pytest.raises(httpx.RemoteProtocolError):
            await agent.ask(CHAT, STREAM)
        call = await agent.call()

    assert call.status == 200
    assert 'Model provider "mine": ' in call.error


@pytest.mark.parametrize(
    "broken",
    [
        stream_answer(CHUNKS[:2], ended=False),
        stream_answer(CHUNKS[:1]),
        raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", CHUNKS[0]),
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", b'{"choices'),
        raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"5\r\nhello\r\nno\r\n"),
    ],
    ids=["cut", "ends early", "ends without length", "half a body", "malformed chunk"],
)
async def test_half_an_answer_is_never_shown_as_a_whole_one(
    provider: FakeProvider, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "IDLE_SECONDS", 1.0)  # aiohttp tells of some breaks only so
    provider.will(broken)

    async with open_agent({"mine": openai_at(provider)}) as agent:
        with suppress(httpx.RemoteProtocolError):  # or it was found before anything was passed on
            assert (await agent.ask(CHAT, STREAM)).status_code == 502
        call = await agent.call()

    assert call.error.startswith('Model provider "mine"')


async def test_malformed_events_pass_as_they_are(provider: FakeProvider) -> None:
    pieces = [b"data: {not json\n\n", b"nonsense\n\n", *CHUNKS]
    provider.will(stream_answer(pieces))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        answer = await agent.ask(CHAT, STREAM)
        call = await agent.call()

    assert answer.content == b"".join(pieces)
    assert (call.input_tokens, call.error) == (7, "")


async def test_twenty_megabytes_pass_and_are_not_counted(provider: FakeProvider) -> None:
    body = b'{"content": "%b", "usage": {"prompt_tokens": 5}}' % (b"x" * 20_000_000)
    provider.will(json_answer(body))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        answer = await agent.ask(CHAT, ASK)
        call = await agent.call()

    assert answer.content == body
    assert (call.status, call.error, call.input_tokens) == (200, "", 0)


async def test_nobody_there_is_said(provider: FakeProvider) -> None:
    provider.will(raw())

    async with open_agent({"mine": openai_at(provider)}) as agent:
        answer = await agent.ask(CHAT, ASK)
        call = await agent.call()

    assert (answer.status_code, call.status) == (502, 502)
    assert answer.json()["error"]["message"].startswith('Model provider "mine": ')


async def test_a_redirect_is_not_followed_and_not_passed_on(provider: FakeProvider) -> None:
    provider.will(json_answer(b"", 307, {"location": "http://169.254.169.254/"}))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        answer = await agent.ask(CHAT, ASK)

    assert answer.status_code == 502
    assert "location" not in answer.headers
    assert "a redirect" in answer.json()["error"]["message"]


async def test_an_agent_that_leaves_ends_the_providers_work(provider: FakeProvider) -> None:
    provider.will(provider.held(stream_answer(CHUNKS[:1], ended=False), raw()))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        async with agent.client.stream("POST", CHAT, content=STREAM) as answer:
            await anext(answer.aiter_raw())
        await until(provider.ended.is_set)
        call = await agent.call()

    assert (call.status, call.error) == (
        200,
        "The agent closed the connection before the answer was complete.",
    )


async def test_an_agent_that_leaves_because_the_provider_failed_is_not_the_cause(
    provider: FakeProvider,
) -> None:
    broken = events({"error": {"message": "Overloaded"}})
    provider.will(provider.held(stream_answer(broken, ended=False), raw()))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        async with agent.client.stream("POST", CHAT, content=STREAM) as answer:
            await anext(answer.aiter_raw())
        await until(provider.ended.is_set)
        call = await agent.call()

    assert (call.status, call.error) == (200, "The provider failed in the middle: Overloaded")


async def test_an_agent_that_leaves_before_the_answer_is_written_down_too(
    provider: FakeProvider,
) -> None:
    provider.will(provider.held(raw(), json_answer(ANSWER)))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        asking = asyncio.create_task(agent.ask(CHAT, ASK))
        await until(provider.waiting.is_set)
        asking.cancel()
        await until(provider.ended.is_set)
        call = await agent.call()

    assert (call.provider, call.status, call.streamed) == ("mine", 0, False)
    assert call.error.startswith("The agent closed the connection")


async def test_a_provider_is_not_read_faster_than_the_agent_reads(provider: FakeProvider) -> None:
    piece = b"data: " + b"x" * 1_000_000 + b"\n\n"
    written: list[int] = []

    async def answer(writer: asyncio.StreamWriter) -> None:
        await stream_answer([], ended=False)(writer)
        for number in range(100):
            await raw(b"%x\r\n%b\r\n" % (len(piece), piece))(writer)
            written.append(number)

    async def stalled() -> None:
        before = -1
        while before != len(written):
            before = len(written)
            await asyncio.sleep(0.2)

    provider.will(answer)

    async with (
        open_agent({"mine": openai_at(provider)}) as agent,
        agent.client.stream("POST", CHAT, content=STREAM) as response,
    ):
        await anext(response.aiter_raw())
        await stalled()

    assert 0 < len(written) < 30


async def test_a_call_under_way_when_the_run_ends_is_written_down(provider: FakeProvider) -> None:
    provider.will(provider.held(raw(), json_answer(ANSWER)))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        asking = asyncio.create_task(agent.ask(CHAT, ASK))
        await until(provider.waiting.is_set)
    call = await agent.call()
    with pytest.raises(httpx.TransportError):
        await asking

    assert (call.provider, call.status) == ("mine", 0)
    assert call.error == "The call was ended before its answer was complete."


async def test_an_address_that_nobody_may_reach_is_refused(provider: FakeProvider) -> None:
    metadata = openai_at(provider, endpoint="http://169.254.169.254/v1")

    async with open_agent({"mine": metadata}) as agent:
        answer = await agent.ask(CHAT, ASK)
        call = await agent.call()

    assert (answer.status_code, call.status) == (502, 502)
    assert answer.json()["error"]["code"] == "outbound-refused"
    assert call.error.startswith('Model provider "mine": 169.254.169.254')
