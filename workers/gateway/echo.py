"""The echo tool, which the gateway answers itself (RunAgents contract §9)."""

from typing import Any

import msgspec
from msgspec import Struct

ANONYMOUS = "anonymous"


class Said(Struct):
    """What is read of a body."""

    message: Any = ""  # whatever JSON an agent sent


def echo(method: str, path: str, body: bytes, user_id: str) -> bytes:
    """Return what echo-tool answers: a body's `message`, or the text of a body that has none."""
    try:
        message = msgspec.json.decode(body, type=Said).message if body else ""
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        message = body.decode("utf-8", "replace")
    return msgspec.json.encode(
        {
            "reply": message,
            "echo": message,
            "path": path,
            "method": method,
            "end_user": user_id or ANONYMOUS,
        }
    )
