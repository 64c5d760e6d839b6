"""How things look: tables, times, colours, JSON. What a server sends never controls a terminal."""

import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import click

# Beyond the ASCII ones: those that turn the direction of writing, and so hide what is written.
_BEYOND_ASCII = "\x7f-\x9f\u2028-\u202e\u2066-\u2069"
_CONTROL = re.compile(f"[\x00-\x08\x0b-\x1f{_BEYOND_ASCII}]")
_BARE_IN_JSON = re.compile(f"[{_BEYOND_ASCII}]")

SHOWN_BYTES = 1 << 18  # less is sent before anybody has looked

COLOURS = {
    "completed": "green",
    "succeeded": "green",
    "ready": "green",
    "active": "green",
    "failed": "red",
    "cancelled": "yellow",
    "cancelling": "yellow",
    "running": "cyan",
    "building": "cyan",
    "pending": "cyan",
    "waiting": "cyan",
}


def print_json(value: Any) -> None:
    """Print one JSON document, indented. `value`: anything that msgspec encodes."""
    import msgspec

    sys.stdout.write(_escaped(msgspec.json.format(msgspec.json.encode(value), indent=2)) + "\n")


def print_json_line(value: Any) -> None:
    """Print one JSON document on a line of its own, at once."""
    import msgspec

    sys.stdout.write(_escaped(msgspec.json.encode(value)) + "\n")
    sys.stdout.flush()


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print aligned columns; the last is cut at a terminal's width. `empty`: said of no rows."""
    cells = [[clean(cell).replace("\n", " ") for cell in row] for row in rows]
    if not cells:
        print(empty)
        return
    lines = [list(headers), *cells]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(headers))]
    room = _columns()
    for number, line in enumerate(lines):
        padded = [
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        ]
        text = "  ".join(padded).rstrip()
        text = text if room is None else text[:room]
        print(paint(text, "bold") if number == 0 else _painted(text, line))


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print `name  value` lines, aligned; empty values are left out."""
    shown = [(name, clean(value)) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        lines = value.splitlines() or [""]
        first, *rest = [paint(line, COLOURS.get(line, "")) for line in lines]
        print(f"{paint(f'{name:<{width}}', 'bold')}  {first}")
        for line in rest:
            print(f"{'':<{width}}  {line}")


def print_text(text: str) -> None:
    """Print a run's output: exactly to a file or pipe, without control characters to a person."""
    shown = clean(text) if sys.stdout.isatty() else text
    sys.stdout.write(shown if shown.endswith("\n") else f"{shown}\n")
    sys.stdout.flush()


def step(line: str) -> None:
    """Say on stderr how long work gets on."""
    print(paint(clean(line), "dim", sys.stderr), file=sys.stderr, flush=True)


@contextmanager
def sending(*, quiet: bool) -> Generator[Callable[[int, int], None] | None]:
    """Yield what shows, on a terminal, how much of something large was sent: bytes, and of all."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with ExitStack() as stack:
        bars: list[Any] = []

        def show(sent: int, total: int) -> None:
            if total >= SHOWN_BYTES and not bars:
                bar = click.progressbar(length=total, label="Sending", file=sys.stderr)
                bars.append(stack.enter_context(bar))
            for bar in bars:
                bar.update(sent - bar.pos)

        yield show


def clean(text: str) -> str:
    """Return text without characters that control a terminal; line feeds and tabs stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return text in a colour, `bold` or `dim`, for terminals that want it."""
    target = sys.stdout if stream is None else stream
    plain = not target.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    if plain or not style:
        return text
    if style in ("bold", "dim"):
        return click.style(text, bold=style == "bold" or None, dim=style == "dim" or None)
    return click.style(text, fg=style)


def ago(time: datetime | None) -> str:
    """Return how long ago it was, or the local date when that was days ago; `-` for never."""
    if time is None:
        return "-"
    seconds = (datetime.now(UTC) - time).total_seconds()
    if seconds < -1:
        return local(time)
    for unit, length in (("s", 60), ("min", 60), ("h", 24)):
        if seconds < length:
            return f"{max(0, int(seconds))} {unit} ago"
        seconds /= length
    return local(time) if seconds > 7 else f"{int(seconds)} d ago"


def local(time: datetime | None) -> str:
    """Return a local date and time."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else ""


def clock(time: datetime | None) -> str:
    """Return a local time of day."""
    return time.astimezone().strftime("%H:%M:%S") if time else "        "


def size(count: int) -> str:
    """Return a number of bytes for people."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def compact(fields: dict[str, Any], room: int = 160) -> str:
    """Return `name=value` pairs on one line, without empty ones, cut at `room` characters."""
    parts = [f"{name}={_short(value)}" for name, value in fields.items() if value not in _EMPTY]
    text = clean(" ".join(parts)).replace("\n", " ")
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _escaped(document: bytes) -> str:
    """Return the same JSON without characters that control a terminal: they are in strings only."""
    return _BARE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", document.decode())


_EMPTY: tuple[object, ...] = (None, "", [], {})


def _short(value: Any) -> str:
    import json

    if isinstance(value, str):
        return value if value and value.isprintable() and " " not in value else json.dumps(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _columns() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _painted(text: str, cells: Sequence[str]) -> str:
    for cell in cells:
        if cell in COLOURS:
            return text.replace(cell, paint(cell, COLOURS[cell]), 1)
    return text
