"""Calls to the world outside, on behalf of agents: guarded at connect, bounded in time."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from domain.errors import ArgosyError


class OutboundRefused(ArgosyError):
    """The address is one that agents must not reach: private, loopback, link-local, metadata.

    An operator allows it by name in ARGOSY_OUTBOUND_ALLOW.
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
    """What a service answered. Headers by their name in lower case, repeated ones joined."""

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises OutboundFailed where it breaks off."""
        ...

    async def body(self, limit: int) -> bytes:
        """Return the whole body. Raises OutboundFailed, also for more than `limit` bytes."""
        ...


class Outbound(Protocol):
    """A pool of connections to services. Never follows a redirect, keeps no cookie, uses no proxy
    but the operator's.
    """

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
        """Call a URL; `seconds` in all, `idle_seconds` between two parts of the answer.

        Raises OutboundRefused, OutboundFailed.
        """
        ...
