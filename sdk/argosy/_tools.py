"""Call the tools that a model asks for, over HTTP (RunAgents contract §6.1, §6.3).

In-sandbox code: see `_channel`.
"""

import json
import re
from urllib.parse import quote, urlencode

from argosy._http import FAILURES, as_list, as_object, call

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SECONDS = 150  # longer than the gateway itself waits for a tool
MAX_RESULT_BYTES = 100_000  # of a result that a model is told
BODILESS = ("GET", "HEAD", "DELETE")
# What somebody has to agree to first: nothing that the model does next could change it.
INTERRUPTS = ("APPROVAL_REQUIRED", "CONSENT_REQUIRED")

_IN_PATHS = "/?%!$&'()*+,;=:@~"
_PARAMETER = re.compile(r"\{([^{}/]+)\}")


class Interrupted(Exception):
    """Somebody has to agree to the call before anything goes on."""


class Tools:
    """The tools of this agent: as functions for a model, and where a call of each goes."""

    def __init__(self, environment: "Mapping[str, str]") -> None:
        self._environment = environment
        self.definitions = as_list(json.loads(environment.get("TOOL_DEFINITIONS_JSON") or "[]"))
        self._routes = as_object(json.loads(environment.get("TOOL_ROUTES_JSON") or "{}"))

    def call(self, function: str, arguments: str, headers: "dict[str, str]") -> "tuple[str, bool]":
        """Return what the model is told of a call, and whether it succeeded. Raises Interrupted."""
        try:
            given: object = json.loads(arguments or "{}")
        except ValueError as error:
            return _failure(f"The arguments are not JSON: {error}."), False
        if not isinstance(given, dict):
            return _failure("The arguments must be a JSON object."), False
        named = as_object(given)
        tool, method, path = self._route(function)
        base = self._environment.get("TOOL_URL_" + re.sub(r"[^A-Z0-9_]", "_", tool.upper()))
        if base is None:
            return _failure(f"There is no tool {function!r}."), False
        try:
            path = _PARAMETER.sub(lambda found: _segment(named, found.group(1)), path)
        except KeyError as missing:
            return _failure(f"The argument {missing} is missing."), False
        headers = {**headers, "X-Tool-Name": quote(tool), "X-Tool-Function": quote(function)}
        return _send(method, base.rstrip("/") + quote(path, safe=_IN_PATHS), named, headers)

    def _route(self, function: str) -> "tuple[str, str, str]":
        route = as_object(self._routes.get(function))
        if "tool" not in route:
            return function.partition("__")[0], "POST", "/"
        path = str(route.get("path") or "/")
        method = str(route.get("method") or "POST").upper()
        return str(route["tool"]), method, path if path.startswith("/") else f"/{path}"


def _segment(arguments: "dict[str, Any]", name: str) -> str:
    """Take an argument out for the path. Raises KeyError."""
    return quote(_plain(arguments.pop(name)), safe="")


def _send(
    method: str, url: str, arguments: "dict[str, Any]", headers: "dict[str, str]"
) -> "tuple[str, bool]":
    body = None
    if method in BODILESS:
        pairs = [(name, each) for name, value in arguments.items() for each in _values(value)]
        url += ("?" if pairs else "") + urlencode(pairs)
    else:
        body = json.dumps(arguments).encode()
        headers = {**headers, "Content-Type": "application/json"}
    try:
        with call(method, url, body=body, headers=headers, seconds=SECONDS) as answer:
            text, whole = answer.text(MAX_RESULT_BYTES)
    except FAILURES as error:
        return _failure(f"The tool could not be reached: {error or type(error).__name__}."), False
    if not whole:
        text += f"\n[cut here: only {MAX_RESULT_BYTES} bytes are shown]"
    if answer.status < 400:
        return text, True
    if answer.status == 403:
        _interrupt(text)
    return json.dumps({"error": f"HTTP {answer.status}", "detail": text}, ensure_ascii=False), False


def _interrupt(text: str) -> None:
    try:
        told = as_object(json.loads(text))
    except ValueError:
        return
    if told.get("code") in INTERRUPTS:
        raise Interrupted(str(told.get("message") or told["code"]))


def _values(value: object) -> "list[str]":
    if isinstance(value, list):
        return [_plain(each) for each in as_list(value)]
    return [] if value is None else [_plain(value)]


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _failure(text: str) -> str:
    return json.dumps({"error": text}, ensure_ascii=False)
