"""A client of one vendor and a provider that speaks the other's format."""

from typing import Any

import anthropic
import openai
import pytest

from tests.providers import FakeProvider, events, json_answer, raw, stream_answer
from tests.workers.gateway.clients import anthropic_client, openai_client
from tests.workers.gateway.recordings import (
    ANTHROPIC_ANSWER,
    ANTHROPIC_STREAM,
    OPENAI_ANSWER,
    OPENAI_STREAM,
    openai_chunk,
)
from tests.workers.gateway.worlds import KEY, anthropic_at, open_agent, openai_at

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
WEATHER = {"location": "Zürich", "unit": "celsius"}
CLAUDE = "claude-opus-5"
GPT = "gpt-4o"


async def test_openais_client_gets_an_answer_of_anthropics(provider: FakeProvider) -> None:
    provider.will(json_answer(ANTHROPIC_ANSWER, headers={"request-id": "req_1"}))

    async with (
        open_agent({"claude": anthropic_at(provider)}) as agent,
        openai_client(agent) as client,
    ):
        answer = await client.chat.completions.create(model=CLAUDE, messages=HELLO)
        call = await agent.call()

    sent = provider.requests[0]
    assert (sent.path, sent.headers["x-api-key"]) == ("/v1/messages", KEY)
    assert sent.json["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hello"}]}
    ]
    choice = answer.choices[0]
    assert (answer.id, answer.model) == (ANTHROPIC_ANSWER["id"], CLAUDE)
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Okay, let's check:")
    assert called(choice.message.tool_calls) == [
        ("toolu_01A", "get_weather", '{"location":"Zürich","unit":"celsius"}'),
        ("toolu_01B", "get_time", "{}"),
    ]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (500, 89)
    assert (call.input_tokens, call.output_tokens, call.error) == (500, 89, "")


async def test_openais_client_gets_a_stream_of_anthropics(provider: FakeProvider) -> None:
    provider.will(stream_answer(events(*ANTHROPIC_STREAM, named=True)))

    async with (
        open_agent({"claude": anthropic_at(provider)}) as agent,
        openai_client(agent) as client,
    ):
        async with client.chat.completions.stream(
            model=CLAUDE, messages=HELLO, stream_options={"include_usage": True}
        ) as stream:
            answer = await stream.get_final_completion()
        call = await agent.call()

    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Okay, let's check:")
    assert called(choice.message.tool_calls) == [
        ("toolu_01A", "get_weather", '{"location": "Zürich", "unit": "celsius"}'),
        ("toolu_01B", "get_time", "{}"),
    ]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (500, 89)
    assert (call.input_tokens, call.output_tokens, call.streamed) == (500, 89, True)


async def test_openais_client_is_told_no_usage_that_it_did_not_ask_for(
    provider: FakeProvider,
) -> None:
    provider.will(stream_answer(events(*ANTHROPIC_STREAM, named=True)))

    async with (
        open_agent({"claude": anthropic_at(provider)}) as agent,
        openai_client(agent) as client,
    ):
        stream = await client.chat.completions.create(model=CLAUDE, messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]

    assert all(len(chunk.choices) == 1 for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1
    indexes = [each.index for chunk in chunks for each in chunk.choices[0].delta.tool_calls or []]
    assert sorted(set(indexes)) == [0, 1]


async def test_anthropics_client_gets_an_answer_of_openais(provider: FakeProvider) -> None:
    provider.will(json_answer(OPENAI_ANSWER))

    async with (
        open_agent({"mine": openai_at(provider)}) as agent,
        anthropic_client(agent) as client,
    ):
        answer = await client.messages.create(model=GPT, max_tokens=9, messages=HELLO)
        call = await agent.call()

    sent = provider.requests[0]
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert not [name for name in sent.headers if name.startswith("anthropic-")]
    text, *uses = answer.content
    assert (text.type, answer.stop_reason) == ("text", "tool_use")
    assert [(use.id, use.name, use.input) for use in uses if use.type == "tool_use"] == [
        ("call_A", "get_weather", WEATHER),
        ("call_B", "get_time", {}),
    ]
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (480, 20, 89)
    assert (call.input_tokens, call.output_tokens, call.error) == (500, 89, "")


async def test_anthropics_client_gets_a_stream_of_openais(provider: FakeProvider) -> None:
    """Its blocks follow one another, although the tool calls come side by side."""
    provider.will(stream_answer(events(*OPENAI_STREAM)))
    told: list[tuple[str, int]] = []

    async with (
        open_agent({"mine": openai_at(provider)}) as agent,
        anthropic_client(agent) as client,
    ):
        async with client.messages.stream(model=GPT, max_tokens=9, messages=HELLO) as stream:
            async for event in stream:
                if event.type == "content_block_start":
                    told.append(("start", event.index))
                elif event.type == "content_block_stop":
                    told.append(("stop", event.index))
            answer = await stream.get_final_message()
        call = await agent.call()

    assert provider.requests[0].json["stream_options"] == {"include_usage": True}
    assert told == [(what, index) for index in range(3) for what in ("start", "stop")]
    text, *uses = answer.content
    assert text.type == "text"
    assert text.text == "Okay, let's check:"
    assert [(use.id, use.name, use.input) for use in uses if use.type == "tool_use"] == [
        ("call_A", "get_weather", WEATHER),
        ("call_B", "get_time", {}),
    ]
    assert answer.stop_reason == "tool_use"
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (480, 20, 89)
    assert (call.input_tokens, call.output_tokens, call.streamed) == (500, 89, True)


async def test_a_translated_stream_is_told_as_it_comes(provider: FakeProvider) -> None:
    head, *rest = OPENAI_STREAM[:2], *OPENAI_STREAM[2:]
    provider.will(provider.held(stream_answer(events(*head), ended=False), _chunked(events(*rest))))

    async with (
        open_agent({"mine": openai_at(provider)}) as agent,
        anthropic_client(agent) as client,
        client.messages.stream(model=GPT, max_tokens=9, messages=HELLO) as stream,
    ):
        async for text in stream.text_stream:
            assert text == "Okay"
            break
        provider.go_on.set()
        assert (await stream.get_final_message()).stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("anthropics", "openais"),
    [("end_turn", "stop"), ("max_tokens", "length"), ("refusal", "content_filter")],
)
async def test_why_an_answer_ended_is_told(
    provider: FakeProvider, anthropics: str, openais: str
) -> None:
    text = [{"type": "text", "text": "hi"}]
    said = OPENAI_ANSWER["choices"][0] | {"message": {"role": "assistant", "content": "hi"}}
    provider.will(
        json_answer(ANTHROPIC_ANSWER | {"content": text, "stop_reason": anthropics}),
        json_answer(OPENAI_ANSWER | {"choices": [said | {"finish_reason": openais}]}),
    )

    providers = {"claude": anthropic_at(provider), "mine": openai_at(provider)}
    async with open_agent(providers) as agent:
        async with openai_client(agent) as client:
            chat = await client.chat.completions.create(model=CLAUDE, messages=HELLO)
        async with anthropic_client(agent) as client:
            message = await client.messages.create(model=GPT, max_tokens=9, messages=HELLO)

    assert chat.choices[0].finish_reason == openais
    assert message.stop_reason == anthropics


async def test_errors_are_told_with_their_status_and_message(provider: FakeProvider) -> None:
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    limited = {"error": {"message": f"Slow down, {KEY}.", "type": "requests", "code": None}}
    provider.will(json_answer(overloaded, 529), json_answer(limited, 429, {"retry-after": "7"}))

    providers = {"claude": anthropic_at(provider), "mine": openai_at(provider)}
    async with open_agent(providers) as agent:
        async with openai_client(agent) as client:
            with pytest.raises(openai.InternalServerError, match="Overloaded") as busy:
                await client.chat.completions.create(model=CLAUDE, messages=HELLO)
        async with anthropic_client(agent) as client:
            with pytest.raises(anthropic.RateLimitError) as slow:
                await client.messages.create(model=GPT, max_tokens=9, messages=HELLO)
        call = await agent.call(2)

    assert busy.value.status_code == 529
    assert slow.value.response.headers["retry-after"] == "7"
    stars = "*" * len(KEY)
    assert slow.value.body == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": f"Slow down, {stars}."},
    }
    assert call.error == f'Model provider "mine" answered 429: Slow down, {stars}.'


async def test_an_error_in_the_middle_of_a_stream_reaches_either_client(
    provider: FakeProvider,
) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    provider.will(
        stream_answer(events(*ANTHROPIC_STREAM[:3], error, named=True)),
        stream_answer(events(*OPENAI_STREAM[:3], {"error": {"message": "Broken"}})),
    )

    providers = {"claude": anthropic_at(provider), "mine": openai_at(provider)}
    async with open_agent(providers) as agent:
        async with openai_client(agent) as client:
            with pytest.raises(openai.APIError, match="Overloaded"):
                async with client.chat.completions.stream(model=CLAUDE, messages=HELLO) as chat:
                    await chat.get_final_completion()
        first = await agent.call()
        async with anthropic_client(agent) as client:
            with pytest.raises(anthropic.APIStatusError, match="Broken"):
                async with client.messages.stream(
                    model=GPT, max_tokens=9, messages=HELLO
                ) as stream:
                    await stream.get_final_message()
        second = await agent.call(2)

    assert first.error == "The provider failed in the middle: Overloaded"
    assert second.error == "The provider failed in the middle: Broken"


@pytest.mark.parametrize(
    "broken",
    [
        stream_answer(events(*OPENAI_STREAM[:4]), ended=False),
        stream_answer(events(*OPENAI_STREAM[:4])),
        stream_answer([*events(*OPENAI_STREAM[:4]), b"data: {no\n\n"]),
        stream_answer([]),
    ],
    ids=["cut", "ends early", "malformed", "empty"],
)
async def test_half_a_stream_is_never_told_as_a_whole_one(
    provider: FakeProvider, broken: Any
) -> None:
    provider.will(broken)

    async with (
        open_agent({"mine": openai_at(provider)}) as agent,
        anthropic_client(agent) as client,
    ):
        with pytest.raises(Exception, match=r"incomplete|closed|without"):
            async with client.messages.stream(model=GPT, max_tokens=9, messages=HELLO) as stream:
                await stream.get_final_message()
        call = await agent.call()

    assert call.error.startswith('Model provider "mine"')


@pytest.mark.parametrize(
    "body", [b"{no", b'{"choices": []}', b"<html>", b'{"choices": [{"message": 5}]}']
)
async def test_an_answer_that_is_none_is_an_error(provider: FakeProvider, body: bytes) -> None:
    provider.will(json_answer(body))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        ask = {"model": GPT, "max_tokens": 9, "messages": HELLO}
        answer = await agent.ask("/v1/messages", ask)
        call = await agent.call()

    assert (answer.status_code, call.status) == (502, 502)
    assert "is not of its format" in answer.json()["error"]["message"]


async def test_twenty_megabytes_are_translated(provider: FakeProvider) -> None:
    text = "x" * 20_000_000
    said = OPENAI_ANSWER["choices"][0] | {"message": {"role": "assistant", "content": text}}
    provider.will(json_answer(OPENAI_ANSWER | {"choices": [said]}))

    async with open_agent({"mine": openai_at(provider)}) as agent:
        ask = {"model": GPT, "max_tokens": 9, "messages": HELLO}
        answer = await agent.ask("/v1/messages", ask)

    assert answer.json()["content"] == [{"type": "text", "text": text}]


async def test_several_calls_that_all_have_the_first_index_are_told_apart(
    provider: FakeProvider,
) -> None:
    calls = [
        openai_chunk(
            {
                "tool_calls": [
                    {"index": 0, "id": id, "function": {"name": name, "arguments": '{"n": 1}'}}
                ]
            }
        )
        for id, name in (("a", "f"), ("b", "g"))
    ]
    provider.will(stream_answer(events(*calls, openai_chunk({}, "stop"))))

    async with (
        open_agent({"mine": openai_at(provider)}) as agent,
        anthropic_client(agent) as client,
        client.messages.stream(model=GPT, max_tokens=9, messages=HELLO) as stream,
    ):
        answer = await stream.get_final_message()

    assert answer.stop_reason == "tool_use"
    assert [(use.name, use.input) for use in answer.content if use.type == "tool_use"] == [
        ("f", {"n": 1}),
        ("g", {"n": 1}),
    ]


async def test_what_cannot_be_translated_is_refused_before_anybody_is_called(
    provider: FakeProvider,
) -> None:
    async with (
        open_agent({"claude": anthropic_at(provider)}) as agent,
        openai_client(agent) as client,
    ):
        with pytest.raises(openai.BadRequestError, match="n: "):
            await client.chat.completions.create(model=CLAUDE, messages=HELLO, n=2)
        call = await agent.call()

    assert (call.provider, call.status, provider.requests) == ("claude", 400, [])


def called(calls: Any) -> list[tuple[str, str, str]]:
    return [(each.id, each.function.name, each.function.arguments) for each in calls]


def _chunked(pieces: list[bytes]) -> Any:
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return raw(*chunks, b"0\r\n\r\n")
