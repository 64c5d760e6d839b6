"""Which headers pass between an agent and a tool.

A tool is told by us who calls, for whom and where: whatever an agent could say of that is left out,
and so is what makes a server take the call for another one than was judged.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote

from workers.gateway.credentials import Credential
from workers.gateway.exchange import HOP_BY_HOP
from workers.gateway.masks import Mask

_OURS = HOP_BY_HOP | {
    "accept-encoding",
    "cf-connecting-ip",
    "expect",
    "forwarded",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-end-user-id",
    "x-method-override",
    "x-real-ip",
    "x-request-id",
    "x-rewrite-url",
    "x-run-id",
}
_OURS_BEGINNINGS = ("x-argosy-", "x-envoy-", "x-forwarded-", "x-http-method", "x-original-")

# A second credential beside the tool's own could be the one that counts.
_CREDENTIALS = {
    "api-key",
    "apikey",
    "authorization",
    "cookie",
    "x-access-token",
    "x-api-key",
    "x-api-token",
    "x-apikey",
    "x-auth-token",
    "x-goog-api-key",
}

# Of an answer to a call with our credential: what it sets would be as good as the credential.
_KEPT_HERE = {"alt-svc", "set-cookie", "set-cookie2"}

_BODILESS = {204, 304}  # a length without a body belongs to no answer that we could send


def request_headers(
    given: Mapping[str, str],
    *,
    run_id: str,
    user_id: str,
    request_id: str,
    credential: Credential,
) -> dict[str, str]:
    """Return what a tool is sent. `given`: the agent's, in lower case."""
    left_out = _OURS | _named_by_connection(given)
    if credential.secret:
        left_out |= _CREDENTIALS
    if credential.header:
        left_out |= {_folded(credential.header[0])}
    headers = {
        name: value
        for name, value in given.items()
        if (folded := _folded(name)) not in left_out and not folded.startswith(_OURS_BEGINNINGS)
    }
    headers["x-run-id"] = run_id
    headers["x-request-id"] = request_id
    if user_id:
        headers["x-end-user-id"] = quote(user_id, safe=_VISIBLE)
    # Nothing can be hidden in what is compressed.
    encoding = "" if credential.secret else given.get("accept-encoding", "")
    headers["accept-encoding"] = encoding or "identity"
    if credential.header:
        headers[credential.header[0]] = credential.header[1]
    return headers


_VISIBLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def answer_headers(
    given: Mapping[str, str], status: int, credential: Credential, mask: Mask
) -> dict[str, str]:
    """Return what an agent is told of a tool's answer."""
    left_out = _named_by_connection(given)
    if credential.secret:
        left_out |= _KEPT_HERE
    if status in _BODILESS:
        left_out |= {"content-length"}
    return {name: mask.text(value) for name, value in given.items() if name not in left_out}


def _named_by_connection(given: Mapping[str, str]) -> set[str]:
    return {_folded(name) for name in given.get("connection", "").split(",")}


def _folded(name: str) -> str:
    """Return a header's name as the servers read it that tell `X_Run.ID` from `x-run-id` not."""
    return re.sub(r"[^a-z0-9]+", "-", name.strip().lower())
