"""How many requests somebody may make: a token bucket for each API key, or for each address.

Buckets are this process's own. They bound what one client can take from the others of a process,
without a round trip on every request's way; of several processes, each allows as much.
Not protected against: somebody with many keys or many networks.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from msgspec import Struct

from domain.errors import ArgosyError, LimitReached

KEEP_BUCKETS = 20_000  # the least recently used are forgotten, which nearly always are full
IPV6_NETWORK_BITS = 64  # what one customer of a provider usually gets
ALLOWANCE = "allowance"  # where a request's state says what was allowed


class Allowance(Struct, frozen=True):
    """What somebody has left.

    limit: requests at once, from a full bucket.
    reset_seconds: until the bucket is full again, if nothing is asked meanwhile.
    """

    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return what the answer says of it."""
        return [
            (b"x-ratelimit-limit", b"%d" % self.limit),
            (b"x-ratelimit-remaining", b"%d" % self.remaining),
            (b"x-ratelimit-reset", b"%d" % self.reset_seconds),
        ]


class RateLimits:
    """The buckets. `rate`: requests a second in the long run, 0 for no limit; `burst`: at once."""

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        # A bucket is the moment when it will be full again; one that is not here is full.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def admit(self, scope: HTTPScope, who: str) -> None:
        """Count a request; its answer will say what is left. Raises LimitReached."""
        if self._rate <= 0:
            return
        now = self._clock()
        full_at = max(self._full_at.get(who, now), now) + 1 / self._rate
        over = full_at - now - self._burst / self._rate
        if over > 1e-9:
            reset = math.ceil(full_at - 1 / self._rate - now)
            scope["state"][ALLOWANCE] = Allowance(self._burst, 0, reset)
            raise LimitReached(
                f"That is more than {self._burst} requests at once, or {self._rate:g} a second.",
                retry_after=math.ceil(over),
            )
        self._full_at[who] = full_at
        self._full_at.move_to_end(who)
        if len(self._full_at) > KEEP_BUCKETS:
            self._full_at.popitem(last=False)
        remaining = math.floor(-over * self._rate + 1e-6)
        scope["state"][ALLOWANCE] = Allowance(self._burst, remaining, math.ceil(full_at - now))

    def admit_stranger(self, scope: HTTPScope) -> None:
        """Count a request without a valid key. Raises LimitReached."""
        self.admit(scope, f"address:{network_of(scope)}")

    def count_refused(self, scope: HTTPScope, refusal: ArgosyError) -> None:
        """Count what was refused before anybody else was: strangers, and paths that nobody serves.

        Raises LimitReached, which then is the answer.
        """
        if ALLOWANCE not in scope["state"] and refusal.status < 500:
            self.admit_stranger(scope)


class HasLimits(Protocol):
    """What the app's shared parts must have."""

    limits: RateLimits


class LimitedByAddress:
    """Middleware of what needs no key and is no health check."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through that may pass. Raises LimitReached."""
        assert scope["type"] == "http"
        shared: HasLimits = scope["litestar_app"].state.shared
        shared.limits.admit_stranger(scope)
        await self._app(scope, receive, send)


def network_of(scope: HTTPScope) -> str:
    """Return where a request comes from: an IPv4 address, or an IPv6 network."""
    host = scope["client"][0] if scope["client"] else ""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS))
    return host
