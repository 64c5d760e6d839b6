"""The pipe from an agent's program to Argosy: one JSON object a line, written by hand.

In-sandbox code: standard library only, Python 3.11 or newer, and nothing imported that is not
always needed. A program starts in half the time without `json`, `re` and `typing`.
"""

import os
from _thread import RLock

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from typing import Any

# Texts are cut into pieces of at most 16 KiB of UTF-8. Lines of up to 4 KiB are also whole when
# several processes (`multiprocessing`) write them; longer ones only between threads.
ASCII_PIECE, PIECE = 16_384, 4_096
REMEMBERED = 1_048_576  # characters

_ESCAPES = {code: f"\\u{code:04x}" for code in range(32)} | {34: '\\"', 92: "\\\\"}


class Channel:
    """Where this process reports to; there is one, so it is the class itself.

    descriptor: the pipe, or None where nobody listens: on a terminal, or when the run is over.
    says_on_stdout: the program's standard output is its answer, in order with what it prints.
    said: what was said, to know whether an answer was streamed already; None if that is too long.
    """

    descriptor: "int | None" = None
    says_on_stdout = True
    said: "list[str] | None" = []
    calls = 0
    call_prefix = "call"
    lock = RLock()
    json: "Any" = None


def _after_fork() -> None:
    Channel.lock = RLock()
    Channel.call_prefix = f"call-{os.getpid()}"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def open_channel(descriptor: int, *, says_on_stdout: bool) -> None:
    """Report to `descriptor` from now on; programs started by this one do not inherit it."""
    os.set_inheritable(descriptor, False)
    Channel.descriptor, Channel.says_on_stdout = descriptor, says_on_stdout


def send(kind: str, fields: str) -> None:
    """Write one line. The pipe holds the program back when the host cannot keep up."""
    line = f'{{"type":"{kind}",{fields}}}\n'.encode("utf-8", "replace")
    with Channel.lock:
        while line and Channel.descriptor is not None:
            try:
                line = line[os.write(Channel.descriptor, line) :]
            except OSError:  # nobody listens any more: the run is over
                Channel.descriptor = None


def send_text(kind: str, text: str, more: str = "") -> None:
    """Write a text as one line or several; `more` fields are repeated in each."""
    size = ASCII_PIECE if text.isascii() else PIECE
    with Channel.lock:
        for start in range(0, len(text), size):
            send(kind, f'"text":{quote(text[start : start + size])}{more}')


def send_error(message: str, traceback: str = "", *, kind: str = "error") -> None:
    """Write that something failed; of a long traceback the end, which says more."""
    trace = traceback if len(traceback) <= PIECE else f"…{traceback[1 - PIECE :]}"
    send(kind, f'"message":{quote(message[:PIECE])},"traceback":{quote(trace)}')


def remember(text: str) -> None:
    """Keep what was said, up to REMEMBERED characters of it."""
    with Channel.lock:
        said = Channel.said
        if said is None:
            return
        said.append(text)
        if len(said) > 1024:
            said[:] = ["".join(said)]
        if len(said[0]) > REMEMBERED:
            Channel.said = None


def was_said(text: str) -> bool:
    """Whether `text` is exactly what was said so far."""
    return Channel.said is not None and "".join(Channel.said) == text


def next_call_id() -> str:
    """Return an id for a tool call, unique in this process and the ones it forks."""
    with Channel.lock:
        Channel.calls += 1
        return f"{Channel.call_prefix}-{Channel.calls}"


def text_of(value: object) -> str:
    """Return what to show for a value: texts as they are, None as nothing."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def quote(text: object) -> str:
    """Return a JSON string."""
    return f'"{text_of(text).translate(_ESCAPES)}"'


def to_json(value: object) -> str:
    """Return JSON of at most PIECE characters; what is longer becomes a text that is cut."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return quote(_cut(value))
    try:
        encoded: str = stdlib_json().dumps(value, default=str, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return quote(_cut(repr(value)))
    return encoded if len(encoded) <= PIECE else quote(_cut(encoded))


def _cut(text: str) -> str:
    return text if len(text) <= PIECE else f"{text[: PIECE - 1]}…"


def stdlib_json() -> "Any":
    """Return the standard library's `json`, whatever module the agent's own source calls so."""
    if Channel.json is None:
        import json  # noqa: PLC0415 - seven milliseconds that few programs need

        Channel.json = json
    return Channel.json
