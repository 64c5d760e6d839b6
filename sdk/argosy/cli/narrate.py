"""What runs, builds and the log do, one readable line per thing."""

import json
import sys
from typing import Any, TextIO

from argosy.cli.output import COLOURS, clean, clock, compact, paint
from argosy.models import LiveEvent, Recorded

_WIDTH = 11
_INDENT = " " * (_WIDTH + 12)
_TEXTS = ("message", "thinking")


class Narrator:
    """Tells a run's or build's events. Text comes in pieces, which are joined as they come."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._open = ""  # the kind of text whose last line is not ended
        self._held = ""  # line ends that are only written when more text comes

    def tell(self, event: LiveEvent) -> None:
        """Write one event."""
        if event.version is None:
            return  # a delta: its text comes again, whole
        word, text = _told(event)
        if word == self._open:
            self._write(text)
        else:
            self.end()
            style = COLOURS.get(word, "red" if word == "error" else "")
            head = f"{clock(event.at)}  {paint(f'{word:<{_WIDTH}}', style, self._stream)}  "
            self._stream.write(head if text else head.rstrip())
            self._write(text.lstrip("\n"))
        if word in _TEXTS:
            self._open = word
        else:
            self.end(always=True)
        self._stream.flush()

    def end(self, *, always: bool = False) -> None:
        """End a line that is still open."""
        if self._open or always:
            self._stream.write("\n")
            self._stream.flush()
        self._open = self._held = ""

    def _write(self, text: str) -> None:
        whole = self._held + clean(text)
        shown = whole.rstrip("\n")
        self._held = whole[len(shown) :]
        self._stream.write(shown.replace("\n", f"\n{_INDENT}"))


def recorded_line(event: Recorded, *, stream: bool) -> str:
    """Return a stored event. `stream`: whether to name its stream (else its version leads)."""
    number = f"#{event.position}" if stream else f"{event.version}"
    where = f"{event.stream}  " if stream else ""
    type_ = paint(f"{event.type:<26}", "bold")
    category, _, id = event.stream.partition("-")
    known = {"type": event.type, f"{category}_id": id, "document_id": id}
    data = {name: value for name, value in event.data.items() if known.get(name) != value}
    return f"{number:>6}  {clock(event.at)}  {type_}  {where}{compact(data)}".rstrip()


def _told(event: LiveEvent) -> tuple[str, str]:
    data = event.data
    match event.type:
        case "status" | "complete":
            return _status(data)
        case "message" | "thinking":
            return event.type, str(data.get("content", ""))
        case "tool_call":
            given = data.get("input")
            return "tool call", f"{data.get('tool', '')} {_plain(given)}"
        case "tool_result":
            failed = "failed: " if data.get("failed") else ""
            return "tool result", f"{data.get('tool', '')} {failed}{_plain(data.get('output'))}"
        case "log":
            return str(data.get("step") or data.get("stream") or "log"), str(data.get("line", ""))
        case "error":
            return "error", str(data.get("traceback") or data.get("message", ""))
        case _:
            return event.type, compact(data)


def _status(data: dict[str, Any]) -> tuple[str, str]:
    said = [str(data[name]) for name in ("reason", "detail", "hint") if data.get(name)]
    if data.get("attempt", 1) != 1:
        said.append(f"attempt {data['attempt']}")
    if stages := data.get("stages"):
        said.append(f"after {max(stages.values()):.0f} ms")
    if files := data.get("files"):
        said.append(f"files: {', '.join(map(str, files))}")
    known = {"status", "reason", "detail", "hint", "attempt", "stages", "warm", "files"}
    known |= {"output", "message", "entries_root"}
    rest = compact({name: value for name, value in data.items() if name not in known})
    return str(data.get("status", "status")), " · ".join(filter(None, [*said, rest]))


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return compact(value)  # pyright: ignore[reportUnknownArgumentType] - JSON's keys are text
    return "" if value is None else json.dumps(value, ensure_ascii=False)
