"""Call an agent's entry: which object, with which arguments, and what its answer means.

The contract is that of RunAgents' runtime (docs/guides/write-an-agent.md says it for people).
In-sandbox code: see `_channel`.
"""

import os
import sys

from argosy import agent
from argosy._channel import (
    Channel,
    quote,
    send,
    send_text,
    stdlib_json,
    text_of,
    was_said,
)
from argosy._entry import OBJECTS

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType
    from typing import Any, TypeGuard

MESSAGE_NAMES = frozenset({"message", "msg", "text", "query", "prompt", "input", "user_input"})
MAX_EXTRA = 65_536  # characters of JSON
_ANSWER = ',"answer":true'

_KEYWORD_ONLY = 3  # the first kind of inspect.Parameter that takes no positional argument
_VARARGS = 0x04  # inspect.CO_VARARGS
_UNKNOWN = object()  # no annotation
_VARIABLE = (("*", _UNKNOWN), ("*", _UNKNOWN))  # `*args` is given all there is


class RunContext:
    """The second argument of `def handler(request, ctx)`.

    tools: base URL by tool name. session: history, request_id, run_id, user_id…
    """

    def __init__(self, request: "dict[str, Any]", system_prompt: str) -> None:
        self.tools = tool_urls()
        self.llm_url = os.environ.get("LLM_GATEWAY_URL", "").removesuffix("/chat/completions")
        self.model = os.environ.get("LLM_MODEL", "")
        self.system_prompt = system_prompt
        self.session: dict[str, Any] = {
            name: value for name, value in request.items() if name != "message"
        }

    def call_tool(self, *args: "Any", **kwargs: "Any") -> "Any":
        """Do as `runagents.Agent().call_tool`."""
        from argosy._runagents import Agent  # noqa: PLC0415 - it imports this module

        return Agent().call_tool(*args, **kwargs)

    def chat(self, *args: "Any", **kwargs: "Any") -> "Any":
        """Do as `runagents.Agent().chat`."""
        from argosy._runagents import Agent  # noqa: PLC0415 - it imports this module

        return Agent().chat(*args, **kwargs)


def tool_urls() -> "dict[str, str]":
    """Return the base URL of each tool that is bound to this agent, by its name."""
    names = filter(None, os.environ.get("TOOL_NAMES", "").split(","))
    known = {"TOOL_URL_" + name.strip().upper().replace("-", "_"): name.strip() for name in names}
    return {
        known.get(key, key.removeprefix("TOOL_URL_").lower().replace("_", "-")): value
        for key, value in os.environ.items()
        if key.startswith("TOOL_URL_")
    }


def find_entry(module: "ModuleType") -> "Callable[..., Any] | None":
    """Return what to call, or None if the module has nothing to call."""
    handler = getattr(module, "handler", None)
    if callable(handler):
        return handler
    for name in OBJECTS:
        entry = _entry_of(getattr(module, name, None))
        if entry is not None:
            return entry
    main = getattr(module, "main", None)
    return main if callable(main) else None


def call(entry: "Callable[..., Any]", request: "dict[str, Any]", system_prompt: str) -> None:
    """Call an entry and report its answer. Raises what it raises."""
    arguments = _arguments(entry, request, system_prompt)
    result = entry(*arguments)
    if hasattr(result, "__await__"):
        result = _run(_awaited(result))
    if hasattr(result, "__anext__"):
        _run(_stream_async(result))
    elif hasattr(result, "__next__"):
        _stream(result)
    elif not arguments and Channel.says_on_stdout and type(result) is int:
        sys.exit(result)  # as in `sys.exit(main())`
    else:
        answer(result, default="said" if arguments or Channel.said else "stdout")


def answer(result: "Any", *, default: str = "said") -> None:
    """Report what an entry returned: a text, or a dict with `response` or `output`.

    default: what the answer is if that is no text: all that was said, or printed.
    """
    extra: dict[str, Any] = {}
    if _is_dict(result):
        extra = {str(key): value for key, value in result.items()}
        result = extra.pop("response") if "response" in extra else extra.get("output", extra)
    text = _answer_text(result)
    source = default
    if text and not was_said(text):
        source = "answer"
        send_text("message", text, _ANSWER)
    send("result", f'"from":{quote(source)},"extra":{_extra_json(extra)}')


def _is_dict(value: object) -> "TypeGuard[dict[str, Any]]":
    return isinstance(value, dict)


def _entry_of(value: object) -> "Callable[[dict[str, Any]], Any] | None":
    """Return how to call a framework's object with a request, or None if it is not one."""
    if value is None or isinstance(value, type | type(sys)):
        return None
    invoke = getattr(value, "invoke", None)
    kind = type(value).__name__
    if callable(invoke) and (kind == "AgentExecutor" or hasattr(value, "agent")):

        def execute(request: "dict[str, Any]") -> object:
            return _output(invoke({"input": request["message"]}))

        return execute
    if callable(invoke) and (kind == "CompiledGraph" or hasattr(value, "nodes")):

        def traverse(request: "dict[str, Any]") -> object:
            return _last_message(invoke({"messages": _messages(request)}))

        return traverse
    for name in ("invoke", "run", "kickoff"):
        method = getattr(value, name, None)
        if callable(method):
            return _invoking(method)
    return None


def _invoking(method: "Callable[..., Any]") -> "Callable[[dict[str, Any]], Any]":
    def invoke(request: "dict[str, Any]") -> object:
        message = request["message"]
        # CrewAI's kickoff takes nothing but named inputs.
        named = next(iter(_parameters(method)), ("", None))[0] == "inputs"
        return _output(method({"message": message, "input": message} if named else message))

    return invoke


def _messages(request: "dict[str, Any]") -> "list[object]":
    messages = sys.modules.get("langchain_core.messages")
    if messages is None:
        return [{"role": "user", "content": request["message"]}]
    return [messages.HumanMessage(content=request["message"])]


def _last_message(result: "Any") -> object:
    messages = result.get("messages") if _is_dict(result) else None
    return _plain(messages[-1]) if messages else result


def _output(result: "Any") -> object:
    if _is_dict(result):
        return _plain(result.get("output", result.get("result", result)))
    return _plain(result)


def _plain(value: "Any") -> object:
    """Return the text of a message object or dict, of whatever framework; else the value."""
    content = value.get("content") if _is_dict(value) else getattr(value, "content", None)
    return content if isinstance(content, str) else value


def _arguments(
    entry: "Callable[..., Any]", request: "dict[str, Any]", system_prompt: str
) -> "tuple[Any, ...]":
    """Return (), (message,), (request,) or (request, context), by the entry's parameters."""
    parameters = _parameters(entry)
    if not parameters:
        return ()
    if len(parameters) > 1:
        return (request, RunContext(request, system_prompt))
    name, annotation = parameters[0]
    if annotation is _UNKNOWN:
        return (request["message"] if name in MESSAGE_NAMES else request,)
    return (request["message"] if _is_text(annotation, entry) else request,)


def _parameters(entry: "Callable[..., Any]") -> "list[tuple[str, Any]]":
    """Return name and annotation of each positional parameter; `*args` counts as two."""
    code = getattr(entry, "__code__", None)
    if code is None or hasattr(entry, "__wrapped__") or hasattr(entry, "__signature__"):
        return _inspected(entry)
    names = code.co_varnames[: code.co_argcount]
    annotations = getattr(entry, "__annotations__", {})
    skipped = 1 if getattr(entry, "__self__", None) is not None else 0
    found = [(name, annotations.get(name, _UNKNOWN)) for name in names[skipped:]]
    return [*found, *_VARIABLE] if code.co_flags & _VARARGS else found


def _inspected(entry: "Callable[..., Any]") -> "list[tuple[str, Any]]":
    """Do the same for what is not a plain function: decorated, partial, a callable object."""
    import inspect  # noqa: PLC0415 - fifteen milliseconds that few entries need

    try:
        signature = inspect.signature(entry)
    except (TypeError, ValueError):  # written in C, and says nothing
        return [("request", _UNKNOWN)]
    found: list[tuple[str, Any]] = []
    for each in signature.parameters.values():
        if each.kind == inspect.Parameter.VAR_POSITIONAL:
            found.extend(_VARIABLE)
        elif each.kind < _KEYWORD_ONLY:
            known = each.annotation is not inspect.Parameter.empty
            found.append((each.name, each.annotation if known else _UNKNOWN))
    return found


def _is_text(annotation: object, entry: "Callable[..., Any]") -> bool:
    """Whether a parameter is annotated as text: `str`, `str | None`, or that in quotes."""
    if isinstance(annotation, str):
        while hasattr(entry, "__wrapped__"):
            entry = entry.__wrapped__  # type: ignore[attr-defined] - asked above
        names = getattr(entry, "__globals__", {})
        try:
            annotation = eval(annotation, dict(names))  # noqa: S307 - the agent's own code
        except (NameError, AttributeError, TypeError, SyntaxError):
            return False
        if isinstance(annotation, str):
            return annotation == "str"
    if annotation is str:
        return True
    members = getattr(annotation, "__args__", ())
    return str in members and all(member in (str, type(None)) for member in members)


def _run(awaitable: "Awaitable[object]") -> object:
    import asyncio  # noqa: PLC0415 - fifty milliseconds that only async entries need

    return asyncio.run(awaitable)  # type: ignore[arg-type] - a coroutine, made below


async def _awaited(result: "Awaitable[object]") -> object:
    return await result


async def _stream_async(pieces: "Any") -> None:
    async for piece in pieces:
        _say_answer(piece)
    _end_stream(None)


def _stream(pieces: "Any") -> None:
    """Say what a generator yields. What it returns is one more piece, and may have extra keys."""
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            _end_stream(end.value)
            return
        _say_answer(piece)


def _say_answer(piece: "Any") -> None:
    text = _answer_text(piece.get("response", piece) if _is_dict(piece) else piece)
    send_text("message", text, _ANSWER)


def _end_stream(value: "Any") -> None:
    extra: dict[str, Any] = {}
    if _is_dict(value):
        extra = {str(key): each for key, each in value.items()}
        value = extra.pop("response", "")
    _say_answer(value)
    send("result", f'"from":"answer","extra":{_extra_json(extra)}')


def _answer_text(value: object) -> str:
    if isinstance(value, dict | list | tuple):
        encoded: str = stdlib_json().dumps(value, default=str, ensure_ascii=False)
        return encoded
    return text_of(value)


def _extra_json(extra: "dict[str, Any]") -> str:
    if not extra:
        return "{}"
    encoded: str = stdlib_json().dumps(extra, default=str, ensure_ascii=False)
    if len(encoded) > MAX_EXTRA:
        agent.log(f"What was returned beside the answer is longer than {MAX_EXTRA} characters.")
        return "{}"
    return encoded
