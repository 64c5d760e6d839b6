"""Calls to the world outside, on behalf of agents: guarded at connect, bounded in time."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from domain.errors import ArgosyError


class OutboundRefused(ArgosyError):
    """The address is one that agents must not reach: private, loopback, link-local, metadata.

    An operator allows it in ARGOSY_OUTBOUND_ALLOW.
    """

    type = "outbound-refused"
    title = "The address is refused"
    status = 502


class OutboundFailed(ArgosyError):
    """Nobody answered: no such name, no connection, no TLS, too slow, or broken off."""

    type = "outbound-failed"
    title = "The service could not be reached"
    status = 502


class Answer(Protocol):
    """What a service answered. Headers by their name in lower case, repeated ones joined.

    A value has a character for each of its bytes (latin-1), and so have those that are sent.

    The body is as it was sent, in the `content-encoding` of the headers: whoever reads along asks
    for `identity`, and refuses what comes in another all the same.
    """

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes, no faster than it is taken; to be called once.

        Raises OutboundFailed where it breaks off.
        """
        ...

    async def body(self, limit: int) -> bytes:
        """Return the whole body. Raises OutboundFailed, also for more than `limit` bytes."""
        ...


class Outbound(Protocol):
    """A pool of connections to services. Follows no redirect, keeps no cookie, uses no proxy."""

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        seconds: float = 120.0,
        idle_seconds: float = 60.0,
    ) -> AbstractAsyncContextManager[Answer]:
        """Call a URL; `seconds` in all, `idle_seconds` before and between parts of the answer.

        url: sent on as it is spelled. headers: sent but for what belongs to the connection;
        `accept-encoding: identity` and a user agent are added where they are missing.
        Raises OutboundRefused and OutboundFailed, which name no more of the URL than its host.
        """
        ...
