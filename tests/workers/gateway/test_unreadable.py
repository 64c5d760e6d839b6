"""JSON that is nested for ever, or is none, is its sender's mistake and no bug of ours."""

import httpx
import pytest

from tests.fuzzing.growth import deep
from tests.providers import FakeProvider, events, json_answer, stream_answer
from tests.workers.gateway.test_models import CHAT
from tests.workers.gateway.worlds import PLAYGROUND, anthropic_at, open_agent, openai_at
from workers.gateway.oauth import (
    Grant,
    _granted,  # pyright: ignore[reportPrivateUsage]  # no endpoint of a test can say 10**400
)

MESSAGES = "/v1/messages"
ENDLESS = deep().encode()
HELLO = '"messages": [{"role": "user", "content": "hi"}]'
# What is passed over as long as nobody needs it, and cannot be passed on.
NO_TEXT = (
    b'{"model": "gpt-4o", "messages": [{"role": "assistant", "content": [{"type": "tool_use",'
    b'"id": "c", "name": "f", "input": {"a": "\xff"}}]}]}'
)


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("model", ["gpt-4o", "claude-opus-5", "gpt-4o-mini"])
async def test_a_request_that_is_nested_for_ever_is_refused(
    path: str, model: str, provider: FakeProvider
) -> None:
    providers = {
        "one": openai_at(provider),
        "other": anthropic_at(provider),
        "play": PLAYGROUND,
    }
    body = b'{"model": "%b", %b, "tools": %b' % (model.encode(), HELLO.encode(), ENDLESS)

    async with open_agent(providers) as agent:
        answer = await agent.ask(path, body)

    assert answer.status_code == 400, answer.text
    assert provider.requests == []


async def test_a_text_that_is_no_text_is_not_translated(provider: FakeProvider) -> None:
    async with open_agent({"mine": openai_at(provider)}) as agent:
        answer = await agent.ask(MESSAGES, NO_TEXT)

    assert answer.status_code == 400
    assert "cannot be said in OpenAI's format" in answer.text


async def test_an_answer_that_is_nested_for_ever_is_not_translated(provider: FakeProvider) -> None:
    provider.will(json_answer(b'{"choices": %b' % ENDLESS))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        answer = await agent.ask(MESSAGES, b'{"model": "gpt-4o", %b}' % HELLO.encode())
        call = await agent.call()

    assert answer.status_code == 502
    assert "is not of its format" in call.error


async def test_an_answer_that_is_nested_for_ever_passes_where_nothing_is_translated(
    provider: FakeProvider,
) -> None:
    body = b'{"error": %b' % ENDLESS
    provider.will(json_answer(body), json_answer(body, 500))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        for status in (200, 500):
            answer = await agent.ask(CHAT, b'{"model": "gpt-4o", "messages": []}')
            assert (answer.status_code, answer.content) == (status, body)


async def test_a_stream_that_is_nested_for_ever_is_broken_off(provider: FakeProvider) -> None:
    started = events({"choices": [{"delta": {"content": "hel"}}]})
    provider.will(stream_answer([*started, b"data: %b\n\n" % ENDLESS]))
    body = b'{"model": "gpt-4o", "stream": true, %b}' % HELLO.encode()

    async with open_agent({"mine": openai_at(provider)}) as agent:
        with pytest.raises(httpx.RemoteProtocolError):
            await agent.ask(MESSAGES, body)
        call = await agent.call()

    assert "is not of its format" in call.error


@pytest.mark.parametrize("told", [10**400, -1, "1e999", "x", None, [1]])
def test_a_token_lives_for_a_while_whatever_is_told(told: object) -> None:
    grant = _granted(200, {"access_token": "a", "expires_in": told})

    assert grant == Grant("a", grant.seconds)
    assert 0 < grant.seconds < 1e9
