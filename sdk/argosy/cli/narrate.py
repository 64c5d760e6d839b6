"""What runs, builds and the log do, one readable line per thing."""

from typing import Any

from argosy.cli.output import COLOURS, clean, clock, compact, paint
from argosy.models import LiveEvent, Recorded

_WIDTH = 11


def live_line(event: LiveEvent) -> str:
    """Return a run's or build's event; further lines of a text are indented below the first."""
    word, text = _told(event)
    style = COLOURS.get(word, "red" if word == "error" else "")
    head = f"{clock(event.at)}  {paint(f'{word:<{_WIDTH}}', style)}"
    first, *rest = clean(text).splitlines() or [""]
    indent = "\n" + " " * (_WIDTH + 10)
    return (f"{head}  {first}".rstrip()) + "".join(f"{indent}  {line}" for line in rest)


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
            return "tool call", f"{data.get('tool', '')} {compact(_object(data.get('input')))}"
        case "tool_result":
            failed = "failed: " if data.get("failed") else ""
            return "tool result", f"{data.get('tool', '')} {failed}{data.get('output', '')}"
        case "log":
            return str(data.get("step") or data.get("stream") or "log"), str(data.get("line", ""))
        case "error":
            return "error", str(data.get("traceback") or data.get("message", ""))
        case _:
            return event.type, compact(data)


def _status(data: dict[str, Any]) -> tuple[str, str]:
    known = ("status", "reason", "detail", "hint", "output", "files", "message", "entries_root")
    said = [str(data[name]) for name in ("reason", "detail", "hint") if data.get(name)]
    rest = {name: value for name, value in data.items() if name not in known}
    files: list[Any] = data.get("files") or []
    if files:
        said.append(f"files: {', '.join(map(str, files))}")
    return str(data.get("status", "status")), " · ".join([*said, compact(rest)]).strip(" ·")


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"input": value}  # pyright: ignore[reportUnknownVariableType]
