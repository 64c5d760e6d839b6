"""Tokens for tools: OAuth 2.0 client credentials (RFC 6749, 4.4), fetched once and kept.

Tokens are in memory only, and in no log and no error.
"""

import asyncio
import re
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote_plus, urlencode

import msgspec
from msgspec import Struct

from domain.catalog import OAuth2Client
from domain.errors import ArgosyError
from workers.gateway.outbound import Outbound
from workers.gateway.vendors import UNREADABLE

MAX_ANSWER_BYTES = 64 * 1024
MAX_TOKENS = 1000  # that are kept
TOKEN_SECONDS = 30.0  # what the token endpoint may take
DEFAULT_LIFE_SECONDS = 300.0  # of a token whose endpoint does not say
SPARE_SECONDS = 30.0  # a token is not used when it has less left, or a tenth of its life

FORM = "application/x-www-form-urlencoded"
# What a token endpoint may say is wrong (RFC 6749, 5.2); anything else it says is not repeated.
_ERRORS = {
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
}
_TOKEN = re.compile(r"[!-~]+")


class TokenRefused(ArgosyError):
    """The token endpoint gave no token. `detail` says what it answered, never what it was sent."""

    type = "token-refused"
    title = "No token for the tool"
    status = 502


class Grant(Struct, frozen=True):
    """A token as its endpoint gave it, and how many seconds it lives."""

    value: str
    seconds: float

    def __repr__(self) -> str:
        """Show no token."""
        return f"Grant(seconds={self.seconds})"


class Tokens:
    """What is kept of tokens, by whom they are for; one fetch at a time for each."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._kept: dict[bytes, tuple[Grant, float]] = {}  # and when it is not used any more
        self._fetching: dict[bytes, asyncio.Task[Grant]] = {}

    async def token(
        self, key: bytes, fetch: Callable[[], Awaitable[Grant]], *, stale: str = ""
    ) -> str:
        """Return a token, fetched unless there is one. Raises what `fetch` raises.

        stale: a token that was refused, and is not to be returned if it is the one kept.
        """
        kept, until = self._kept.get(key, (None, 0.0))
        if kept is not None and kept.value != stale and self._now() < until:
            return kept.value
        fetching = self._fetching.get(key)
        if fetching is None:
            fetching = asyncio.create_task(self._fetch(key, fetch))
            self._fetching[key] = fetching
            fetching.add_done_callback(lambda done: self._fetched(key, done))
        # Whoever asked first may be cancelled; the others still wait.
        return (await asyncio.shield(fetching)).value

    async def _fetch(self, key: bytes, fetch: Callable[[], Awaitable[Grant]]) -> Grant:
        grant = await fetch()
        spare = min(SPARE_SECONDS, grant.seconds / 10)
        self._kept.pop(key, None)
        while len(self._kept) >= MAX_TOKENS:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (grant, self._now() + grant.seconds - spare)
        return grant

    def _fetched(self, key: bytes, done: asyncio.Task[Grant]) -> None:
        del self._fetching[key]
        if not done.cancelled():
            done.exception()  # seen, even if nobody waits any more


async def fetch_token(outbound: Outbound, client: OAuth2Client, secret: str) -> Grant:
    """Ask the token endpoint. Raises TokenRefused, OutboundRefused, OutboundFailed.

    The client says who it is in the header, which every endpoint has to understand, and in the body
    if it is not understood there.
    """
    answer = await _ask(outbound, client, secret, in_body=False)
    if _is_unknown_client(*answer):
        answer = await _ask(outbound, client, secret, in_body=True)
    return _granted(*answer)


async def _ask(
    outbound: Outbound, client: OAuth2Client, secret: str, *, in_body: bool
) -> tuple[int, dict[str, Any]]:
    form = {**client.parameters, "grant_type": "client_credentials"}
    if client.scopes:
        form["scope"] = " ".join(client.scopes)
    headers = {"content-type": FORM, "accept": "application/json", "accept-encoding": "identity"}
    if in_body:
        form |= {"client_id": client.client_id, "client_secret": secret}
    else:
        pair = f"{quote_plus(client.client_id)}:{quote_plus(secret)}"
        headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    async with outbound.request(
        "POST",
        client.token_url,
        headers=headers,
        body=urlencode(form).encode(),
        seconds=TOKEN_SECONDS,
        idle_seconds=TOKEN_SECONDS,
    ) as answer:
        body = await answer.body(MAX_ANSWER_BYTES)
        try:
            fields = msgspec.json.decode(body, type=dict[str, Any])
        except UNREADABLE:
            fields = {}
        return answer.status, fields


def _is_unknown_client(status: int, fields: dict[str, Any]) -> bool:
    return status == 401 or (status == 400 and fields.get("error") == "invalid_client")


def _granted(status: int, fields: dict[str, Any]) -> Grant:
    if status != 200:
        error = fields.get("error")
        said = f" ({error})" if isinstance(error, str) and error in _ERRORS else ""
        raise TokenRefused(f"The token endpoint answered {status}{said}.")
    value, kind = fields.get("access_token"), fields.get("token_type", "bearer")
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise TokenRefused("The token endpoint answered no access_token.")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenRefused("The token endpoint answered a token that is not a bearer token.")
    return Grant(value, _seconds(fields.get("expires_in")))


def _seconds(told: object) -> float:
    """Return a life in seconds; some endpoints send the number as a text."""
    try:
        seconds = float(told) if isinstance(told, int | float | str) else DEFAULT_LIFE_SECONDS
    except (ValueError, OverflowError):
        return DEFAULT_LIFE_SECONDS
    return seconds if 0 <= seconds < 1e9 else DEFAULT_LIFE_SECONDS
