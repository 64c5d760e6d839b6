"""Requests in OpenAI's format, for a provider that speaks Anthropic's.

What would change what is asked for is refused (several answers, audio, JSON without a schema). What
is only a hint and has no counterpart is left out: penalties, log probabilities, seed, effort.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from domain.errors import Malformed
from workers.gateway.vendors import UNREADABLE

# Anthropic requires a limit, and OpenAI's clients seldom send one. All current models allow it.
MAX_TOKENS = 8192

# Anthropic's temperatures end where OpenAI's are half way.
MAX_TEMPERATURE = 1.0

type Blocks = list[dict[str, Any]]


class _Text(Struct, frozen=True, tag="text"):
    text: str


class _Refusal(Struct, frozen=True, tag="refusal"):
    refusal: str


class _ImageURL(Struct, frozen=True):
    url: str


class _Image(Struct, frozen=True, tag="image_url"):
    image_url: _ImageURL


class _FileData(Struct, frozen=True):
    file_data: str = ""
    filename: str = ""


class _File(Struct, frozen=True, tag="file"):
    file: _FileData


type _Content = str | list[_Text | _Refusal | _Image | _File] | None


class _Called(Struct, frozen=True):
    name: str
    arguments: str = ""


class _ToolCall(Struct, frozen=True):
    id: str
    function: _Called


class _Message(Struct, frozen=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: _Content = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str = ""


class _Function(Struct, frozen=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(Struct, frozen=True):
    type: Literal["function"]
    function: _Function


class _Named(Struct, frozen=True):
    name: str


class _ToolChoice(Struct, frozen=True):
    type: Literal["function"]
    function: _Named


class _Schema(Struct, frozen=True):
    schema: dict[str, Any] | None = None


class _ResponseFormat(Struct, frozen=True):
    type: str
    json_schema: _Schema | None = None


class _StreamOptions(Struct, frozen=True):
    include_usage: bool | None = None


class Request(Struct, frozen=True):
    """A request in OpenAI's format, as far as it can be asked of a model of Anthropic's."""

    model: str
    messages: list[_Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    tools: list[_Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | _ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    user: str | None = None
    response_format: _ResponseFormat | None = None
    n: int | None = None
    modalities: list[str] | None = None
    functions: list[Any] | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with what it used."""
        return bool(self.stream_options and self.stream_options.include_usage)


def for_anthropic(request: Request) -> dict[str, Any]:
    """Return the request in Anthropic's format. Raises Malformed."""
    _check(request)
    told = [m for m in request.messages if m.role in {"system", "developer"}]
    system = [block for message in told for block in _blocks(message.content)]
    limit = request.max_completion_tokens or request.max_tokens or MAX_TOKENS
    stop = [request.stop] if isinstance(request.stop, str) else request.stop
    heat = request.temperature
    fields: dict[str, Any] = {
        "model": request.model,
        "max_tokens": limit,
        "messages": _turns(request.messages),
        "system": system or None,
        "temperature": None if heat is None else min(heat, MAX_TEMPERATURE),
        "top_p": request.top_p,
        "stop_sequences": stop or None,
        "stream": request.stream,
        "metadata": {"user_id": request.user} if request.user else None,
        "output_config": _output(request.response_format),
    }
    if request.tools:
        fields["tools"] = [_tool(tool.function) for tool in request.tools]
        fields["tool_choice"] = _choice(request)
    return {name: value for name, value in fields.items() if value is not None}


def _check(request: Request) -> None:
    if (request.n or 1) > 1:
        raise Malformed("n: a model of Anthropic's gives one answer at a time.")
    if request.modalities and request.modalities != ["text"]:
        raise Malformed("modalities: a model of Anthropic's answers with text only.")
    if request.functions:
        raise Malformed("functions is what tools was called once; send tools.")


def _turns(messages: Sequence[_Message]) -> list[dict[str, Any]]:
    """Return the conversation, in which user and assistant take turns."""
    turns: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        match message.role:
            case "system" | "developer":
                continue
            case "assistant":
                role, blocks = "assistant", _blocks(message.content)
                blocks += [
                    _tool_use(call, f"messages[{number}].tool_calls[{place}]")
                    for place, call in enumerate(message.tool_calls or ())
                ]
            case "tool":
                role, blocks = "user", [_tool_result(message)]
            case "user":
                role, blocks = "user", _blocks(message.content)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(content: _Content) -> Blocks:
    """Return content without empty texts, which Anthropic refuses."""
    if content is None or isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    blocks: Blocks = []
    for part in content:
        match part:
            case _Text(text=text) | _Refusal(refusal=text):
                blocks += [{"type": "text", "text": text}] if text else []
            case _Image(image_url=image):
                blocks.append({"type": "image", "source": _source(image.url)})
            case _File(file=file):
                if not file.file_data:
                    raise Malformed("A file is sent as file_data; its id means nothing elsewhere.")
                title = {"title": file.filename} if file.filename else {}
                blocks.append({"type": "document", "source": _source(file.file_data), **title})
    return blocks


def _source(url: str) -> dict[str, str]:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    head, comma, data = url[5:].partition(",")
    media_type, _, encoding = head.partition(";")
    if not comma or encoding != "base64":
        raise Malformed("A data URL must be such as data:image/png;base64,….")
    return {"type": "base64", "media_type": media_type, "data": data}


def _tool_use(call: _ToolCall, place: str) -> dict[str, Any]:
    try:
        given = msgspec.json.decode(call.function.arguments or "{}", type=dict[str, Any])
    except UNREADABLE as error:
        raise Malformed(f"{place}.function.arguments is no JSON object: {error}") from None
    return {"type": "tool_use", "id": call.id, "name": call.function.name, "input": given}


def _tool_result(message: _Message) -> dict[str, Any]:
    blocks = _blocks(message.content)
    result = {"type": "tool_result", "tool_use_id": message.tool_call_id}
    return result | ({"content": blocks} if blocks else {})


def _tool(function: _Function) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    tool: dict[str, Any] = {"name": function.name}
    tool["input_schema"] = schema | (function.parameters or {})
    return tool | ({"description": function.description} if function.description else {})


def _choice(request: Request) -> dict[str, Any] | None:
    choice: dict[str, Any]
    match request.tool_choice:
        case None if request.parallel_tool_calls is not False:
            return None
        case "none":
            return {"type": "none"}
        case "auto" | None:
            choice = {"type": "auto"}
        case "required":
            choice = {"type": "any"}
        case _ToolChoice(function=function):
            choice = {"type": "tool", "name": function.name}
    if request.parallel_tool_calls is False:
        choice["disable_parallel_tool_use"] = True
    return choice


def _output(wanted: _ResponseFormat | None) -> dict[str, Any] | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type != "json_schema" or wanted.json_schema is None or not wanted.json_schema.schema:
        raise Malformed(
            "response_format: Anthropic's models answer in JSON by a schema; send a json_schema."
        )
    return {"format": {"type": "json_schema", "schema": wanted.json_schema.schema}}
