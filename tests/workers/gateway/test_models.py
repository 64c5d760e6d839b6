"""Model calls whose two sides speak one format: bytes pass, and are counted beside."""

from typing import Any

import pytest

from domain.deployments import Settings
from tests.providers import FakeProvider, events, json_answer, raw, stream_answer
from tests.workers.gateway.worlds import KEY, PLAYGROUND, anthropic_at, open_agent, openai_at

CHAT = "/v1/chat/completions"
ASK = b'{"model":  "gpt-4o", "messages": [{"role": "user", "content": "hi \\u00e9"}], "odd": 1.0}'
ANSWER = {
    "id": "chatcmpl-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}}],
    "usage": {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 200},
    },
}
CHUNKS = events(
    {"choices": [{"index": 0, "delta": {"content": "hel"}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}},
    "[DONE]",
)
STREAM = b'{"model": "gpt-4o", "stream": true, "messages": []}'


async def test_bytes_pass_untouched_both_ways_and_usage_is_counted(provider: FakeProvider) -> None:
    body = b'{ "usage" : {"prompt_tokens": 5, "completion_tokens": 6}, "\\u0061": 1.00 }\n'
    provider.will(json_answer(body, headers={"x-ratelimit-remaining-requests": "9"}))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        answer = await agent.ask(CHAT, ASK, {"authorization": "Bearer platform-managed"})
        call = await agent.call()

    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["x-ratelimit-remaining-requests"] == "9"
    sent = provider.requests[0]
    assert (sent.method, sent.path, sent.body) == ("POST", "/v1/chat/completions", ASK)
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert (call.provider, call.model, call.status, call.error) == ("mine", "gpt-4o", 200, "")
    assert (call.input_tokens, call.output_tokens, call.streamed) == (5, 6, False)
    assert 0 < call.first_byte_milliseconds <= call.milliseconds


async def test_what_an_agent_says_of_itself_stays_here(provider: FakeProvider) -> None:
    own = {
        "authorization": "Bearer theirs",
        "x-api-key": "theirs",
        "cookie": "theirs",
        "x-end-user-id": "theirs",
        "x-run-id": "theirs",
        "openai-organization": "theirs",
        "x-tool-name": "theirs",
    }

    async with open_agent({"mine": openai_at(provider)}) as agent:
        await agent.ask(CHAT, ASK, own | {"x-stainless-lang": "python"})

    sent = provider.requests[0].headers
    assert "theirs" not in str(sent)
    assert sent["x-stainless-lang"] == "python"
    assert sent["accept-encoding"] == "identity"


async def test_cached_tokens_cost_what_they_cost(provider: FakeProvider) -> None:
    provider.will(json_answer(ANSWER))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        await agent.ask(CHAT, ASK)
        call = await agent.call()

    assert call.cost_usd == pytest.approx((800 * 2.5 + 200 * 1.25 + 100 * 10) / 1e6)


async def test_anthropics_own_clients_reach_anthropic(provider: FakeProvider) -> None:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 5}
    provider.will(json_answer({"type": "message", "usage": usage}, headers={"request-id": "req_1"}))
    body = b'{"model": "claude-opus-5", "max_tokens": 5, "messages": []}'

    async with open_agent({"claude": anthropic_at(provider)}) as agent:
        answer = await agent.ask("/v1/messages", body, {"anthropic-beta": "some-2026"})
        call = await agent.call()

    sent = provider.requests[0]
    assert (sent.path, sent.body) == ("/v1/messages", body)
    assert sent.headers["x-api-key"] == KEY
    assert sent.headers["anthropic-version"] == "2023-06-01"
    assert sent.headers["anthropic-beta"] == "some-2026"
    assert answer.headers["request-id"] == "req_1"
    assert (call.input_tokens, call.output_tokens) == (100, 5)


async def test_a_stream_passes_as_it_comes(provider: FakeProvider) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    provider.will(provider.held(raw(head, CHUNKS[0]), raw(*CHUNKS[1:])))

    async with (
        open_agent({"mine": openai_at(provider)}) as agent,
        agent.client.stream("POST", CHAT, content=STREAM) as answer,
    ):
        pieces = answer.aiter_raw()
        first = await anext(pieces)
        assert not provider.go_on.is_set()
        provider.go_on.set()
        rest = b"".join([piece async for piece in pieces])
        call = await agent.call()

    assert first == CHUNKS[0]
    assert first + rest == b"".join(CHUNKS)
    assert (call.input_tokens, call.output_tokens, call.streamed) == (7, 2, True)
    assert call.first_byte_milliseconds < call.milliseconds


async def test_without_a_usage_nothing_is_counted_and_no_cost_is_claimed(
    provider: FakeProvider,
) -> None:
    provider.will(stream_answer([CHUNKS[0], CHUNKS[1], CHUNKS[3]]))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        await agent.ask(CHAT, STREAM)
        call = await agent.call()

    assert provider.requests[0].body == STREAM  # nothing was put in to be told it
    assert (call.input_tokens, call.output_tokens, call.cost_usd) == (0, 0, None)
    assert (call.status, call.error) == (200, "")


@pytest.mark.parametrize("body", [b'{"messages": []}', b'{"model": "", "messages": []}'])
async def test_a_call_without_a_model_is_refused(provider: FakeProvider, body: bytes) -> None:
    async with open_agent({"mine": openai_at(provider)}) as agent:
        answer = await agent.ask(CHAT, body)
        call = await agent.call()

    assert (answer.status_code, call.status, call.provider) == (400, 400, "")
    assert answer.json()["error"]["message"] == call.error == "model is required"


async def test_a_model_that_nobody_has_is_not_found() -> None:
    async with open_agent({"playground-llm": PLAYGROUND}) as agent:
        answer = await agent.ask("/v1/messages", {"model": "gpt-9", "messages": []})
        call = await agent.call()

    assert answer.status_code == 404
    assert answer.json() == {
        "type": "error",
        "error": {"type": "not_found_error", "message": 'no provider found for model "gpt-9"'},
    }
    assert (call.model, call.provider, call.status) == ("gpt-9", "", 404)


async def test_what_is_no_request_is_refused() -> None:
    async with open_agent({}) as agent:
        for content in (b"", b"[]", b"\xff", b'{"model": 5}'):
            assert (await agent.ask(CHAT, content)).status_code == 400


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"credential": "lost"}, "is not in the vault"),
        ({"credential": "", "endpoint": ""}, "is missing"),
        ({"credential": "", "endpoint": "https://api.openai.com/v1"}, "is missing"),
    ],
)
async def test_a_missing_key_is_said_by_the_providers_name(
    provider: FakeProvider, given: dict[str, Any], says: str
) -> None:
    async with open_agent({"mine": openai_at(provider, **given)}) as agent:
        answer = await agent.ask(CHAT, ASK)
        call = await agent.call()

    assert (answer.status_code, call.status) == (503, 503)
    assert f'The key of model provider "mine" {says}' in answer.json()["error"]["message"]
    assert provider.requests == []


async def test_a_provider_of_ones_own_may_do_without_a_key(provider: FakeProvider) -> None:
    async with open_agent({"mine": openai_at(provider, credential="")}) as agent:
        answer = await agent.ask(CHAT, ASK, {"authorization": "Bearer theirs"})

    assert answer.status_code == 200
    assert "authorization" not in provider.requests[0].headers


async def test_a_provider_is_called_as_often_as_it_may_be(provider: FakeProvider) -> None:
    limited = openai_at(provider, requests_per_minute=2)

    async with open_agent({"mine": limited}) as agent:
        statuses = [(await agent.ask(CHAT, ASK)).status_code for _ in range(2)]
        answer = await agent.ask(CHAT, ASK)
        call = await agent.call(3)

    assert (statuses, answer.status_code, call.status) == ([200, 200], 429, 429)
    assert 50 < int(answer.headers["retry-after"]) <= 60
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert len(provider.requests) == 2


async def test_a_prefixed_model_is_asked_for_as_the_provider_knows_it(
    provider: FakeProvider,
) -> None:
    asked = ASK.replace(b"gpt-4o", b"mine/gpt-4o")

    async with open_agent({"mine": openai_at(provider)}) as agent:
        await agent.ask(CHAT, asked)
        call = await agent.call()

    assert provider.requests[0].json["model"] == "gpt-4o"
    assert b'"odd":1.0' in provider.requests[0].body
    assert call.model == "gpt-4o"


async def test_models_are_listed_for_both_vendors_clients(provider: FakeProvider) -> None:
    providers = {"mine": openai_at(provider, models=["z", "a"]), "playground-llm": PLAYGROUND}

    async with open_agent(providers, Settings()) as agent:
        listed = (await agent.client.get("/v1/models")).json()
        of_one = (await agent.client.get("/v1/p/playground-llm/models")).json()

    assert (listed["object"], listed["has_more"]) == ("list", False)
    assert [(m["id"], m["owned_by"]) for m in listed["data"]] == [
        ("a", "mine"),
        ("gpt-4o-mini", "playground-llm"),
        ("z", "mine"),
    ]
    assert {m["object"] for m in listed["data"]} == {m["type"] for m in listed["data"]} == {"model"}
    assert [m["id"] for m in of_one["data"]] == ["gpt-4o-mini"]
