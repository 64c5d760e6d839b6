"""What agent code may import: say things while they happen, and read what was asked.

    from argosy import agent

    def handler(request):
        agent.say("Looking it up… ")
        with agent.tool_call("search", {"query": agent.message}) as call:
            call.result(search(agent.message))
        return "Done."

Inside a sandbox every call becomes an entry of the run's transcript at once. Anywhere else it is
printed, so that the same file runs on your own machine: `python agent.py "my message"`.
All of it may be called from any thread. Nothing here raises because nobody listens any more.

Standard library only, Python 3.11 or newer, and imported in a millisecond.
"""

import os
import sys

from argosy._channel import (
    PIECE,
    Channel,
    next_call_id,
    quote,
    remember,
    send,
    send_error,
    send_text,
    text_of,
    to_json,
)

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self, TypeVar

    Function = TypeVar("Function", bound=Callable[..., Any])

message: str  # what the agent was asked
request: "dict[str, Any]"  # the whole request: message, history, context, run_id, user_id…


def say(text: object) -> None:
    """Stream a piece of the answer. Pieces are joined as they are: bring your own line ends."""
    text = text_of(text)
    if not text:
        return
    if Channel.descriptor is None or Channel.says_on_stdout:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    with Channel.lock:
        remember(text)
        send_text("message", text)


def think(text: object) -> None:
    """Stream a piece of the reasoning, which is shown apart from the answer."""
    if Channel.descriptor is None:
        _print("thinking", text_of(text))
    else:
        send_text("thought", text_of(text))


def log(line: object) -> None:
    """Write a line to the run's log."""
    if Channel.descriptor is None:
        _print("log", text_of(line))
    else:
        send_text("log", text_of(line))


class Call:
    """A call of a tool that was reported; its outcome is reported once, by whoever is first.

    As a context manager it reports an exception as failure, and no result as None.
    """

    def __init__(self, tool: str, call_id: str) -> None:
        """Made by `tool_call`."""
        self.tool = tool
        self.call_id = call_id
        self._open = True

    def result(self, output: object = None) -> None:
        """Report what the tool answered; any JSON value, else its repr."""
        self._end(output, failed=False)

    def fail(self, output: object = None) -> None:
        """Report that the tool did not answer, and why."""
        self._end(output, failed=True)

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, kind: object, error: "BaseException | None", trace: object) -> None:
        if error is None:
            self.result()
        else:
            self.fail(f"{type(error).__name__}: {error}")

    def _end(self, output: object, *, failed: bool) -> None:
        if self._open:
            self._open = False
            tool_result(self.call_id, self.tool, output, failed=failed)


def tool_call(tool: str, input: object = None, *, call_id: str = "") -> Call:
    """Report that a tool is called. Report the outcome with what is returned."""
    call_id = text_of(call_id) or next_call_id()
    if Channel.descriptor is None:
        _print("tool call", f"{tool} {to_json(input)}")
    else:
        send(
            "tool_call", f'"call_id":{quote(call_id)},"tool":{quote(tool)},"input":{to_json(input)}'
        )
    return Call(tool, call_id)


def tool_result(call_id: str, tool: str, output: object = None, *, failed: bool = False) -> None:
    """Report the outcome of a call whose id came from somewhere else, such as a model's answer."""
    if Channel.descriptor is None:
        _print("tool failed" if failed else "tool result", f"{tool} {to_json(output)}")
        return
    head = f'"call_id":{quote(call_id)},"tool":{quote(tool)},"output":{to_json(output)}'
    send("tool_result", head + (',"failed":true' if failed else ""))


def tool(function: "Function") -> "Function":
    """Decorate a function so that each call of it is reported as a tool's."""
    from functools import wraps  # noqa: PLC0415 - as in _channel.py

    name = function.__name__

    @wraps(function)
    def called(*args: object, **kwargs: object) -> object:
        with tool_call(name, _arguments(function, args, kwargs)) as call:
            output = function(*args, **kwargs)
            call.result(output)
            return output

    @wraps(function)
    async def awaited(*args: object, **kwargs: object) -> object:
        with tool_call(name, _arguments(function, args, kwargs)) as call:
            output = await function(*args, **kwargs)
            call.result(output)
            return output

    code = getattr(function, "__code__", None)
    is_async = code is not None and code.co_flags & 0x80  # CO_COROUTINE
    return awaited if is_async else called  # type: ignore[return-value] - both call `function`


def file_edit(path: "str | os.PathLike[str]", diff: str = "") -> None:
    """Report that a file was written; `path` in the working directory."""
    name = os.fspath(path)
    if os.path.isabs(name):  # noqa: PTH117 - pathlib costs as much as all the rest
        name = os.path.relpath(name)
    if Channel.descriptor is None:
        _print("file", name)
    else:
        send("file_edit", f'"path":{quote(name)},"diff":{quote(diff[:PIECE])}')


def usage(*, input_tokens: int = 0, output_tokens: int = 0, model: str = "") -> None:
    """Report tokens that were used; the run adds up what it is told."""
    tokens = f'"input_tokens":{int(input_tokens)},"output_tokens":{int(output_tokens)}'
    if Channel.descriptor is None:
        _print("usage", tokens)
    else:
        send("usage", f'{tokens},"model":{quote(model)}')


def error(message: object, traceback: str = "") -> None:
    """Report that something went wrong. The run goes on; raise to end it."""
    if Channel.descriptor is None:
        _print("error", text_of(message) + (f"\n{traceback}" if traceback else ""))
    else:
        send_error(text_of(message), traceback)


def __getattr__(name: str) -> object:
    """Make `message` and `request` where no sandbox has set them: from the command line."""
    if name == "message":
        value: object = _message_from_command_line()
    elif name == "request":
        value = {"message": sys.modules[__name__].message, "history": [], "context": {}}
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _message_from_command_line() -> str:
    if len(sys.argv) > 1:
        return " ".join(sys.argv[1:])
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    return sys.stdin.read()


def _print(what: str, text: str) -> None:
    print(f"[{what}] {text}", file=sys.stderr)  # noqa: T201 - this is the terminal


def _arguments(
    function: "Callable[..., Any]", args: "tuple[object, ...]", kwargs: "dict[str, object]"
) -> "dict[str, object]":
    """Return a call's arguments by name, as far as the names are known."""
    code = getattr(function, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code else ()
    named: dict[str, object] = dict(zip(names, args, strict=False))
    if len(args) > len(names):
        named["args"] = list(args[len(names) :])
    return {**named, **kwargs}
