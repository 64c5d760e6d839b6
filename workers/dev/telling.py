"""What a person sees of a dev server: one readable line per thing that happens."""

import json
import re
import sys
import time
from datetime import datetime
from typing import Any

# The fields worth a place on the line, by event type. A type that is not here shows its name only.
SHOWN = {
    "run.requested": ("slug", "message"),
    "run.claimed": ("attempt", "worker"),
    "run.started": ("attempt",),
    "run.cancel_requested": ("detail",),
    "run.anchored": ("entries",),
    "run.retried": ("attempt", "detail"),
    "run.ended": ("reason", "detail", "output"),
    "build.requested": ("agent_name", "version", "mode"),
    "build.claimed": ("attempt",),
    "build.planned": ("mode",),
    "build.cancel_requested": ("detail",),
    "build.retried": ("attempt", "detail"),
    "build.ended": ("step", "detail", "hint"),
    "agent.created": ("name",),
    "agent.archived": (),
    "agent.version_drafted": ("version", "mode"),
    "agent.version_ready": ("version",),
    "agent.version_failed": ("version", "detail"),
    "deployment.created": ("slug",),
    "deployment.archived": (),
    "deployment.revision_made": ("revision", "agent_version"),
    "deployment.revision_ready": ("revision",),
    "deployment.revision_failed": ("revision", "detail"),
    "workspace.created": ("slug",),
    "workspace.archived": (),
    "document.applied": ("name",),
    "document.revised": ("revision",),
    "document.archived": (),
    "draft.created": (),
    "draft.revised": (),
    "draft.completed": ("agent_name",),
    "draft.abandoned": (),
    "draft.archived": (),
}
MOST_TEXT = 100
# Also line separators, and what turns the direction of writing.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")


class Teller:
    """Prints lines for people, or with `as_json` one object a line for programs."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def say(self, what: str, text: str) -> None:
        """Tell something that the supervisor did or saw."""
        if self._as_json:
            self._print(json.dumps({"at": _now(), "what": what, "text": text}))
        else:
            self._print(f"{time.strftime('%H:%M:%S')}  {what}  {_CONTROL.sub(' ', text)}")

    def event(self, recorded: dict[str, Any]) -> None:
        """Tell an event of the log."""
        if self._as_json:
            self._print(json.dumps(recorded))
            return
        at = datetime.fromisoformat(recorded["at"]).astimezone()
        self._print(f"{at:%H:%M:%S}  {event_line(recorded)}")

    def block(self, lines: list[str], **facts: str) -> None:
        """Tell several lines at once; programs get the facts."""
        text = json.dumps({"at": _now(), **facts}) if self._as_json else "\n".join(lines)
        self._print(text)

    def _print(self, text: str) -> None:
        # One write a line: the follower's thread tells too.
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def event_line(recorded: dict[str, Any]) -> str:
    """Return `run 0197…  started  attempt 1` for an event as the API sends it."""
    stream, type_ = str(recorded.get("stream", "")), str(recorded.get("type", ""))
    category, _, id = stream.partition("-")
    data: dict[str, Any] = recorded.get("data") or {}
    verb = type_.partition(".")[2].replace("_", " ") or type_
    if verb == "ended":
        verb = str(data.get("how", verb))
    shown = (_field(name, data[name]) for name in SHOWN.get(type_, ()) if data.get(name))
    return f"{category.replace('_', ' ')} {id}  {verb}  {'  '.join(shown)}".rstrip()


def _field(name: str, value: object) -> str:
    text = _CONTROL.sub(" ", str(value)).strip()
    text = text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"
    match name:
        case "attempt" | "version" | "revision" | "agent_version" | "entries":
            return f"{name.replace('agent_', '')} {text}"
        case "message" | "output":
            return json.dumps(text, ensure_ascii=False)
        case _:
            return text


def _now() -> str:
    return datetime.now().astimezone().isoformat()
