"""Errors as the clients of OpenAI and Anthropic understand them."""

from typing import Any, Literal

import msgspec

type Format = Literal["openai", "anthropic"]

# What decoding JSON raises for what is none, or none that can be held: it may be nested for ever.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

MAX_ERROR_BYTES = 256 * 1024
MAX_MESSAGE = 500

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class _Error(msgspec.Struct):
    message: str = ""


class _Body(msgspec.Struct):
    error: _Error | str = ""
    message: str = ""


def format_of(path: str) -> Format:
    """Return the format that the clients of a path speak."""
    return "anthropic" if path.rstrip("/").endswith("/messages") else "openai"


def error_content(format: Format, status: int, message: str, code: str) -> dict[str, Any]:
    """Return an error that a vendor's client shows with its message."""
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")
    if format == "anthropic":
        return {"type": "error", "error": {"type": kind, "message": message}}
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def error_message(body: bytes) -> str:
    """Return what an error of either vendor says, as one short line."""
    try:
        found = msgspec.json.decode(body, type=_Body)
    except UNREADABLE:
        text = body[: 4 * MAX_MESSAGE].decode("utf-8", "replace")
    else:
        error = found.error
        text = (error if isinstance(error, str) else error.message) or found.message
    return " ".join(text.split())[:MAX_MESSAGE]
