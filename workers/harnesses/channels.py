"""Read the lines that `sdk/argosy/_channel.py` writes, as an attacker may have written them."""

from typing import Any, dataclass_transform

import msgspec
from msgspec import Struct

# The longest text, each character of it escaped, and the fields beside it.
MAX_LINE_BYTES = 128 * 1024
MAX_NAME = 256
MAX_PATH = 512
MAX_VALUE_BYTES = 16 * 1024
MAX_DEPTH = 32
MAX_TOKENS = 10**12

# So every line begins that the in-sandbox module writes.
_BEGINNING = b'{"type":"'


@dataclass_transform(frozen_default=True)
class _Line(Struct, frozen=True, tag_field="type"):
    """One JSON object. Unknown fields are ignored, so that a newer module may say more."""


class Start(_Line, tag="start"):
    """The program runs. What it prints is its answer (`say`), else its log (`log`)."""

    stdout: str


class Message(_Line, tag="message"):
    """A text that was said; with `answer`, one that belongs to the final answer."""

    text: str
    answer: bool = False


class Thought(_Line, tag="thought"):
    """A text of reasoning."""

    text: str


class Log(_Line, tag="log"):
    """Text for the log, of one line or several."""

    text: str


class ToolCall(_Line, tag="tool_call"):
    """A tool is called."""

    call_id: str
    tool: str
    input: Any = None


class ToolResult(_Line, tag="tool_result"):
    """What became of it."""

    call_id: str
    tool: str
    output: Any = None
    failed: bool = False


class FileEdit(_Line, tag="file_edit"):
    """A file was written."""

    path: str
    diff: str = ""


class Usage(_Line, tag="usage"):
    """Tokens were used."""

    input_tokens: int = 0
    output_tokens: int = 0
    model: str = ""


class Error(_Line, tag="error"):
    """The agent's code failed."""

    message: str
    traceback: str = ""


class Failure(_Line, tag="failure"):
    """The agent's code could not even be started."""

    message: str
    traceback: str = ""


class Turn(_Line, tag="turn"):
    """The model goes on: what it has said so far is no part of its answer."""


class Answer(_Line, tag="result"):
    """The agent has answered: what it `said`, an `answer` of its own, or its `stdout`."""

    from_: str = msgspec.field(name="from", default="said")
    extra: dict[str, Any] = {}


type ChannelLine = (
    Start
    | Message
    | Thought
    | Log
    | ToolCall
    | ToolResult
    | FileEdit
    | Usage
    | Error
    | Failure
    | Turn
    | Answer
)

_DECODER: msgspec.json.Decoder[ChannelLine] = msgspec.json.Decoder(ChannelLine)


def read_line(line: bytes) -> ChannelLine | None:
    """Return what a line says, or None if it says nothing that can be read."""
    if not line.startswith(_BEGINNING):
        return None  # without the cost of an exception
    try:
        return _DECODER.decode(line)
    # UnicodeDecodeError is a ValueError, and so are numbers of too many digits.
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def bounded(value: Any, limit: int = MAX_VALUE_BYTES) -> Any:
    """Return a JSON value, or its beginning as a text where it is too long or too deep."""
    try:
        encoded = msgspec.json.encode(value)
    except (ValueError, RecursionError):
        return "a value that cannot be shown"
    if len(encoded) <= limit and _is_shallow(value, MAX_DEPTH):
        return value
    # Cut twice, since cutting bytes may leave half a character, and U+FFFD is three.
    return encoded[: limit - 8].decode("utf-8", "ignore") + "…"


def is_inside(path: str) -> bool:
    """Whether a path names something in the working directory, in a way that can be shown."""
    parts = path.split("/")
    return len(path) <= MAX_PATH and path.isprintable() and ".." not in parts and parts[0] != ""


def _is_shallow(value: Any, depth: int) -> bool:
    match value:
        case dict():
            return depth > 0 and all(_is_shallow(each, depth - 1) for each in value.values())  # type: ignore[reportUnknownVariableType] - any JSON
        case list():
            return depth > 0 and all(_is_shallow(each, depth - 1) for each in value)  # type: ignore[reportUnknownVariableType] - any JSON
        case _:
            return True
