"""Requests in Anthropic's format, for a provider that speaks OpenAI's.

What would change what is asked for is refused (tools that run at Anthropic, files by id). What is
only a hint and has no counterpart is left out: thinking, top_k, what is to be cached.
"""

from typing import Any, Literal

from msgspec import Raw, Struct

from domain.errors import Malformed


class _Source(Struct, frozen=True):
    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""


class _Text(Struct, frozen=True, tag="text"):
    text: str


class _Image(Struct, frozen=True, tag="image"):
    source: _Source


class _Document(Struct, frozen=True, tag="document"):
    source: _Source
    title: str | None = None


class _ToolUse(Struct, frozen=True, tag="tool_use"):
    id: str
    name: str
    input: Raw = Raw(b"{}")


class _ToolResult(Struct, frozen=True, tag="tool_result"):
    tool_use_id: str
    content: str | list[_Text | _Image | _Document] | None = None


class _Thinking(Struct, frozen=True, tag="thinking"):
    """What the model thought. Only the model that did can use it."""


class _RedactedThinking(Struct, frozen=True, tag="redacted_thinking"):
    """As above, unreadable."""


type _Block = _Text | _Image | _Document | _ToolUse | _ToolResult | _Thinking | _RedactedThinking


class _Message(Struct, frozen=True):
    role: Literal["user", "assistant"]
    content: str | list[_Block]


class _Tool(Struct, frozen=True):
    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    type: str | None = None


class _ToolChoice(Struct, frozen=True):
    type: Literal["auto", "any", "none", "tool"]
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _Metadata(Struct, frozen=True):
    user_id: str | None = None


class _OutputFormat(Struct, frozen=True):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class _OutputConfig(Struct, frozen=True):
    format: _OutputFormat | None = None


class Request(Struct, frozen=True):
    """A request in Anthropic's format, as far as it can be asked of another model."""

    model: str
    messages: list[_Message]
    max_tokens: int | None = None
    system: str | list[_Text] | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    tools: list[_Tool] | None = None
    tool_choice: _ToolChoice | None = None
    metadata: _Metadata | None = None
    output_config: _OutputConfig | None = None


def for_openai(request: Request, limit_field: str) -> dict[str, Any]:
    """Return the request in OpenAI's format. Raises Malformed.

    limit_field: what the provider calls the limit of an answer's tokens.
    """
    messages = [_system(request.system)] if request.system else []
    for message in request.messages:
        messages += _user(message) if message.role == "user" else _assistant(message)
    schema = request.output_config.format if request.output_config else None
    fields: dict[str, Any] = {
        "model": request.model,
        "messages": messages,
        limit_field: request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": request.stop_sequences or None,
        "stream": request.stream,
        "stream_options": {"include_usage": True} if request.stream else None,
        "user": request.metadata.user_id if request.metadata else None,
        "response_format": _response_format(schema) if schema else None,
    }
    if request.tools:
        fields["tools"] = [_tool(tool, f"tools[{n}]") for n, tool in enumerate(request.tools)]
        fields |= _choice(request.tool_choice)
    return {name: value for name, value in fields.items() if value is not None}


def _system(system: str | list[_Text]) -> dict[str, Any]:
    text = system if isinstance(system, str) else "\n\n".join(block.text for block in system)
    return {"role": "system", "content": text}


def _user(message: _Message) -> list[dict[str, Any]]:
    """Return the tools' results, which must come first, and then what the user says."""
    if isinstance(message.content, str):
        return [{"role": "user", "content": message.content}]
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in message.content:
        match block:
            case _ToolResult(tool_use_id=id, content=content):
                said = [_Text(content)] if isinstance(content, str) else content or []
                text = "\n".join(each.text for each in said if isinstance(each, _Text))
                results.append({"role": "tool", "tool_call_id": id, "content": text})
                parts += [_part(each) for each in said if not isinstance(each, _Text)]
            case _Text() | _Image() | _Document():
                parts.append(_part(block))
            case _:
                raise Malformed("A user's message has no blocks of what a model does.")
    if len(parts) == 1 and parts[0]["type"] == "text":
        return [*results, {"role": "user", "content": parts[0]["text"]}]
    return [*results, {"role": "user", "content": parts}] if parts else results


def _part(block: _Text | _Image | _Document) -> dict[str, Any]:
    match block:
        case _Text(text=text):
            return {"type": "text", "text": text}
        case _Image(source=source):
            return {"type": "image_url", "image_url": {"url": _url(source)}}
        case _Document(source=_Source(type="text", data=data)):
            return {"type": "text", "text": data}
        case _Document(source=source, title=title):
            if source.type != "base64":
                raise Malformed("A document is sent as base64 or text; this provider fetches none.")
            file = {"filename": title or "document", "file_data": _url(source)}
            return {"type": "file", "file": file}


def _url(source: _Source) -> str:
    if source.type == "base64":
        return f"data:{source.media_type};base64,{source.data}"
    if source.type != "url":
        raise Malformed(f"A source of type {source.type!r} means nothing to another provider.")
    return source.url


def _assistant(message: _Message) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"role": "assistant", "content": message.content}]
    text = "".join(block.text for block in message.content if isinstance(block, _Text))
    calls = [
        {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": bytes(block.input).decode()},
        }
        for block in message.content
        if isinstance(block, _ToolUse)
    ]
    if not calls:
        return [{"role": "assistant", "content": text}]
    return [{"role": "assistant", "content": text or None, "tool_calls": calls}]


def _tool(tool: _Tool, place: str) -> dict[str, Any]:
    if tool.type not in {None, "custom"}:
        raise Malformed(f"{place}: {tool.type} runs at Anthropic; this provider does not have it.")
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema or {}}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _choice(choice: _ToolChoice | None) -> dict[str, Any]:
    if choice is None:
        return {}
    named = {"type": "function", "function": {"name": choice.name}}
    words: dict[str, Any] = {"auto": "auto", "any": "required", "none": "none", "tool": named}
    parallel = {"parallel_tool_calls": False} if choice.disable_parallel_tool_use else {}
    return {"tool_choice": words[choice.type], **parallel}


def _response_format(wanted: _OutputFormat) -> dict[str, Any]:
    schema = {"name": "answer", "schema": wanted.schema, "strict": True}
    return {"type": "json_schema", "json_schema": schema}
