"""URLs that agent code has written down, sent to the tools that stand for them.

RunAgents' contract 6.4: `urllib` and `requests` replace the longest mapped prefix and keep what
follows it. Other libraries are left alone: they reach nothing but the gateway, and fail.
In-sandbox code: see `_channel`.
"""

# Only agents with mappings pay for what is imported here:
# ruff: noqa: PLC0415

from argosy._channel import stdlib_json

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from typing import Any

TOOL_SEGMENTS = 5  # of `http://127.0.0.1:<port>/tools/<name>`, split at its slashes


def install(text: str) -> None:
    """Rewrite what `urllib` and, where the agent has it, `requests` call. `text`: the variable."""
    targets: dict[str, str] = stdlib_json().loads(text)
    _patch_urllib(targets)
    _patch_requests(targets)


def rewritten(url: str, targets: "dict[str, str]") -> str:
    """Return the URL to call: a tool's, with what followed the mapped prefix.

    A prefix ends where a part of the URL does, so `https://a.example` is not `https://a.example.org`
    A target may have a path of its own, for URLs that are mapped whole.
    """
    for prefix in sorted(targets, key=len, reverse=True):
        rest = url[len(prefix) :]
        if not url.startswith(prefix) or not (prefix.endswith("/") or rest[:1] in "/?#"):
            continue
        target = targets[prefix]
        if not rest.strip("/") or rest[0] in "?#":
            return target + rest.lstrip("/")
        tool = "/".join(target.split("/")[:TOOL_SEGMENTS])
        return f"{tool}/{rest.lstrip('/')}"
    return url


def _patch_urllib(targets: "dict[str, str]") -> None:
    from urllib.request import OpenerDirector

    # Any: what callers pass on to the library's own method.
    director: Any = OpenerDirector
    opened = director.open

    def open_rewritten(self: "Any", fullurl: "Any", *given: "Any", **named: "Any") -> "Any":
        if isinstance(fullurl, str):
            fullurl = rewritten(fullurl, targets)
        else:
            fullurl.full_url = rewritten(fullurl.full_url, targets)
        return opened(self, fullurl, *given, **named)

    director.open = open_rewritten


def _patch_requests(targets: "dict[str, str]") -> None:
    import importlib

    try:
        sessions: Any = importlib.import_module("requests.sessions")
    except ImportError:
        return
    sent = sessions.Session.request

    def send_rewritten(
        self: "Any", method: "Any", url: "Any", *given: "Any", **named: "Any"
    ) -> "Any":
        return sent(self, method, rewritten(str(url), targets), *given, **named)

    sessions.Session.request = send_rewritten
