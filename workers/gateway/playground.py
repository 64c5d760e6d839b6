"""The playground model: built in, without a key, and the same answer to the same question.

It speaks OpenAI's format and follows the script in the last message of the user, if there is one;
see `docs/guides/script-the-playground-model.md`.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import Struct

from domain.errors import Malformed
from workers.gateway.outbound import OutboundFailed
from workers.gateway.playground_scripts import Step, read_steps
from workers.gateway.vendors import UNREADABLE, error_content

BYTES_A_TOKEN = 4
FRAGMENT = 12  # characters of a tool's arguments in one piece of a stream


class _Function(Struct, frozen=True):
    name: str = ""
    arguments: str = ""


class _ToolCall(Struct, frozen=True):
    id: str = ""
    function: _Function = _Function()


class _Message(Struct, frozen=True):
    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str = ""

    @property
    def text(self) -> str:
        """All its text."""
        if isinstance(self.content, list):
            return "\n".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class _Request(Struct, frozen=True):
    model: str
    messages: list[_Message]
    tools: list[Any] | None = None
    tool_choice: Any = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class _Reply(Struct, frozen=True):
    """What the model says. `calls`: names and arguments of tools."""

    id: str
    model: str
    text: str
    calls: list[tuple[str, str]]
    finish: str
    usage: dict[str, int]
    created: int


class _Played(Struct):
    """See `outbound.Answer`."""

    status: int
    headers: Mapping[str, str]
    pieces: list[bytes]
    step: Step

    async def chunks(self) -> AsyncIterator[bytes]:
        for number, piece in enumerate(self.pieces):
            if number:
                await asyncio.sleep(self.step.slow_seconds)
            if self.step.breaks and number >= len(self.pieces) // 2:
                raise OutboundFailed("It broke off, as its script says.")
            yield piece

    async def body(self, limit: int) -> bytes:
        body = b"".join([chunk async for chunk in self.chunks()])
        if len(body) > limit:
            raise OutboundFailed(f"It answered more than {limit} bytes.")
        return body


@asynccontextmanager
async def play(body: bytes) -> AsyncGenerator[_Played]:
    """Answer a request in OpenAI's format as a provider would. Raises Malformed."""
    try:
        request = msgspec.json.decode(body, type=_Request)
    except UNREADABLE as error:
        raise Malformed(f"The playground cannot read the request: {error}") from None
    step, results = _step(request)
    await asyncio.sleep(step.slow_seconds)
    yield _failed(step) if step.fail_status else _played(request, step, results)


def _step(request: _Request) -> tuple[Step, list[tuple[str, str]]]:
    """Return what the script says now, and what the tools of the step before answered."""
    asked = [n for n, message in enumerate(request.messages) if message.role == "user"]
    if not asked:
        return Step(), []
    steps = read_steps(request.messages[asked[-1]].text)
    since = request.messages[asked[-1] + 1 :]
    turns = [n for n, message in enumerate(since) if message.tool_calls]
    names = {call.id: call.function.name for n in turns for call in since[n].tool_calls or ()}
    results = [
        (names.get(message.tool_call_id, "The tool"), message.text)
        for message in since[turns[-1] if turns else 0 :]
        if message.role == "tool"
    ]
    return (steps[len(turns)] if len(turns) < len(steps) else Step()), results


def _failed(step: Step) -> _Played:
    status = step.fail_status
    text = step.text or f"The script says {status}."
    body = msgspec.json.encode(error_content("openai", status, text, "playground"))
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    return _Played(status, headers | ({"retry-after": "1"} if status == 429 else {}), [body], step)


def _played(request: _Request, step: Step, results: list[tuple[str, str]]) -> _Played:
    reply = _reply(request, step, results)
    if request.stream:
        options = request.stream_options or {}
        pieces = [
            b"data: %b\n\n" % data for data in _events(reply, bool(options.get("include_usage")))
        ]
        return _Played(200, {"content-type": "text/event-stream"}, pieces, step)
    body = msgspec.json.encode(_whole(reply))
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    halves = [body[: len(body) // 2], body[len(body) // 2 :]] if step.breaks else [body]
    return _Played(200, headers, halves, step)


def _reply(request: _Request, step: Step, results: list[tuple[str, str]]) -> _Reply:
    calls = [] if request.tool_choice == "none" else step.calls
    text, finish = _text(step, results), "tool_calls" if calls else "stop"
    most = request.max_completion_tokens or request.max_tokens
    if most and not calls and _tokens(text.encode()) > most:
        text = text.encode()[: most * BYTES_A_TOKEN].decode("utf-8", "ignore")
        finish = "length"
    asked = msgspec.json.encode([request.messages, request.tools])
    given = _tokens(asked)
    made = _tokens(text.encode()) + sum(_tokens(f"{name}{data}".encode()) for name, data in calls)
    usage = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
    digest = hashlib.sha256(asked).hexdigest()[:24]
    return _Reply(digest, request.model, text, calls, finish, usage, int(time.time()))


def _text(step: Step, results: list[tuple[str, str]]) -> str:
    if step.text:
        return step.text.replace("{result}", "\n".join(result for _, result in results))
    if step.calls:
        return ""
    if results:
        return "\n".join(f"{name} answered: {result}" for name, result in results)
    return f"This is the playground model. You said: {step.message.strip()}"


def _tokens(data: bytes) -> int:
    return -(-len(data) // BYTES_A_TOKEN)


def _tool_call(reply: _Reply, number: int, arguments: str) -> dict[str, Any]:
    function = {"name": reply.calls[number][0], "arguments": arguments}
    return {"id": f"call_{reply.id[:20]}{number:04}", "type": "function", "function": function}


def _whole(reply: _Reply) -> dict[str, Any]:
    calls = [_tool_call(reply, n, arguments) for n, (_, arguments) in enumerate(reply.calls)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": reply.text or None,
        "refusal": None,
        **({"tool_calls": calls} if calls else {}),
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish}
    return {
        **_head(reply, "chat.completion"),
        "choices": [choice],
        "usage": reply.usage,
    }


def _events(reply: _Reply, with_usage: bool) -> Iterator[bytes]:
    for delta in _deltas(reply):
        yield _event(reply, [{"index": 0, "delta": delta, "finish_reason": None}])
    yield _event(reply, [{"index": 0, "delta": {}, "finish_reason": reply.finish}])
    if with_usage:
        yield _event(reply, [], reply.usage)
    yield b"[DONE]"


def _event(
    reply: _Reply, choices: list[dict[str, Any]], usage: dict[str, int] | None = None
) -> bytes:
    chunk = {**_head(reply, "chat.completion.chunk"), "choices": choices}
    return msgspec.json.encode(chunk | ({"usage": usage} if usage else {}))


def _deltas(reply: _Reply) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for word in reply.text.splitlines(keepends=True):
        yield from ({"content": piece} for piece in _words(word))
    for number, (_, arguments) in enumerate(reply.calls):
        yield {"tool_calls": [{"index": number, **_tool_call(reply, number, "")}]}
        for start in range(0, len(arguments), FRAGMENT):
            fragment = {"arguments": arguments[start : start + FRAGMENT]}
            yield {"tool_calls": [{"index": number, "function": fragment}]}


def _words(line: str) -> Iterator[str]:
    before, blank, rest = line.partition(" ")
    while blank:
        yield before + blank
        before, blank, rest = rest.partition(" ")
    yield before


def _head(reply: _Reply, object: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{reply.id}",
        "object": object,
        "created": reply.created,
        "model": reply.model,
    }
