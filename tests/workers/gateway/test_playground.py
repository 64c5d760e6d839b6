"""The playground model, through the vendors' own clients."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from tests.workers.gateway.clients import anthropic_client, openai_client
from tests.workers.gateway.worlds import PLAYGROUND, Agent, open_agent

MODEL = "gpt-4o-mini"
PLAY = {"playground-llm": PLAYGROUND}


@asynccontextmanager
async def opened() -> AsyncGenerator[tuple[Agent, openai.AsyncOpenAI]]:
    async with open_agent(PLAY) as agent, openai_client(agent) as client:
        yield agent, client


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def test_it_answers_the_same_to_the_same_question() -> None:
    async with opened() as (agent, client):
        first = await client.chat.completions.create(model=MODEL, messages=said("hello there"))
        second = await client.chat.completions.create(model=MODEL, messages=said("hello there"))
        call = await agent.call(2)

    text = first.choices[0].message.content
    assert text == "This is the playground model. You said: hello there"
    assert second.choices[0].message.content == text
    assert first.choices[0].finish_reason == "stop"
    assert first.usage is not None
    assert (call.input_tokens, call.output_tokens) == (
        first.usage.prompt_tokens,
        first.usage.completion_tokens,
    )
    assert call.output_tokens == -(-len(text) // 4)
    assert (call.provider, call.cost_usd, call.error) == ("playground-llm", 0.0, "")


async def test_it_calls_the_tools_that_the_script_names_and_tells_what_they_answered() -> None:
    script = '/call echo__post {"message": "hi"}\n/call time__get\n/then\n/call echo__post {}'
    messages = said(script)

    async with opened() as (_, client):
        answer = await client.chat.completions.create(model=MODEL, messages=messages)
        message = answer.choices[0].message
        calls = [each for each in message.tool_calls or [] if each.type == "function"]
        messages.append(message.model_dump(exclude_none=True))
        for call, result in zip(calls, ("hi", "noon"), strict=True):
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        again = (await client.chat.completions.create(model=MODEL, messages=messages)).choices[0]
        messages.append(again.message.model_dump(exclude_none=True))
        assert again.message.tool_calls
        again_id = again.message.tool_calls[0].id
        messages.append({"role": "tool", "tool_call_id": again_id, "content": "ho"})
        last = (await client.chat.completions.create(model=MODEL, messages=messages)).choices[0]

    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert [(each.function.name, each.function.arguments) for each in calls] == [
        ("echo__post", '{"message": "hi"}'),
        ("time__get", "{}"),
    ]
    assert len({again_id, *(each.id for each in calls)}) == 3
    assert (last.finish_reason, last.message.content) == ("stop", "echo__post answered: ho")


async def test_a_result_can_be_put_in_words() -> None:
    messages: list[Any] = [
        *said("/call echo\n/then\n/say Done.\n/say It was {result}."),
        {"role": "assistant", "tool_calls": [_call("a")]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "hi"}]},
    ]

    async with opened() as (_, client):
        answer = await client.chat.completions.create(model=MODEL, messages=messages)

    assert answer.choices[0].message.content == "Done.\nIt was hi."


async def test_it_streams_words_and_arguments_in_fragments() -> None:
    script = '/say one two\nthree\n/call echo__post {"message": "a text of some length"}'

    async with opened() as (agent, client):
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=said(script),
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        call = await agent.call()

    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert [delta.content for delta in deltas if delta.content] == ["one ", "two"]
    calls = [each for delta in deltas for each in delta.tool_calls or []]
    arguments = [each.function.arguments or "" for each in calls if each.function]
    assert len(arguments) > 3
    assert "".join(arguments) == '{"message": "a text of some length"}'
    assert [each.id for each in calls if each.id] == [calls[0].id]
    assert chunks[-2].choices[0].finish_reason == "tool_calls"
    assert chunks[-1].usage is not None
    assert call.streamed
    assert call.input_tokens == chunks[-1].usage.prompt_tokens > 0


async def test_an_answer_ends_where_it_may_not_be_longer() -> None:
    async with opened() as (_, client):
        answer = await client.chat.completions.create(
            model=MODEL, messages=said("/say " + "word " * 50), max_completion_tokens=5
        )

    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


async def test_it_fails_as_it_is_told() -> None:
    async with opened() as (agent, client):
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(model=MODEL, messages=said("/fail 429 Not now."))
        call = await agent.call()

    assert refused.value.body == {
        "message": "Not now.",
        "type": "rate_limit_error",
        "param": None,
        "code": "playground",
    }
    assert refused.value.response.headers["retry-after"] == "1"
    assert (call.status, call.error) == (
        429,
        'Model provider "playground-llm" answered 429: Not now.',
    )


@pytest.mark.parametrize("streamed", [False, True])
async def test_it_breaks_off_as_it_is_told(streamed: bool) -> None:
    ask = {"model": MODEL, "messages": said("/say one two three\n/break"), "stream": streamed}

    async with open_agent(PLAY) as agent:
        with pytest.raises(Exception, match="closed"):
            await agent.ask("/v1/chat/completions", ask)
        call = await agent.call()

    assert call.error == 'Model provider "playground-llm": It broke off, as its script says.'


async def test_it_is_slow_as_it_is_told() -> None:
    async with opened() as (agent, client):
        await client.chat.completions.create(model=MODEL, messages=said("/slow 0.05\n/say a"))
        call = await agent.call()

    assert call.milliseconds >= 50


@pytest.mark.parametrize("line", ["/call echo {no", "/call", "/fail no", "/fail 200", "/slow -1"])
async def test_a_script_that_means_nothing_is_refused_with_what_would(line: str) -> None:
    async with opened() as (_, client):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model=MODEL, messages=said(line))

    assert line.split(" ", maxsplit=1)[0] in refused.value.message


async def test_openais_client_lists_the_models() -> None:
    async with opened() as (_, client):
        models = [model.id async for model in client.models.list()]

    assert models == [MODEL]


async def test_anthropics_client_lists_the_models() -> None:
    async with open_agent(PLAY) as agent, anthropic_client(agent) as client:
        models = [model.id async for model in client.models.list()]

    assert models == [MODEL]


async def test_it_calls_tools_of_anthropics_client_too() -> None:
    script = '/call echo__post {"message": "hi"}\n/call time__get\n/then\n/say So: {result}'
    messages: list[Any] = [{"role": "user", "content": script}]

    async with open_agent(PLAY) as agent, anthropic_client(agent) as client:
        first = await client.messages.create(model=MODEL, max_tokens=99, messages=messages)
        uses = [block for block in first.content if block.type == "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": use.id, "content": f"{use.name} did"}
            for use in uses
        ]
        messages += [
            {"role": "assistant", "content": [block.model_dump() for block in first.content]},
            {"role": "user", "content": results},
        ]
        async with client.messages.stream(model=MODEL, max_tokens=99, messages=messages) as stream:
            last = await stream.get_final_message()
        call = await agent.call(2)

    assert first.stop_reason == "tool_use"
    assert [(use.name, use.input) for use in uses] == [
        ("echo__post", {"message": "hi"}),
        ("time__get", {}),
    ]
    assert last.stop_reason == "end_turn"
    assert [block.text for block in last.content if block.type == "text"] == [
        "So: echo__post did\ntime__get did"
    ]
    assert last.usage.input_tokens == call.input_tokens > 0
    assert last.usage.output_tokens == call.output_tokens


def _call(id: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "echo", "arguments": "{}"}}
