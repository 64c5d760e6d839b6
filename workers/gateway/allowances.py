"""What agents may use of the run host through the gateway, so that none can take it from others."""

import asyncio

from msgspec import Struct

from domain.errors import LimitReached, Unavailable

RETRY_SECONDS = 1


class GatewayLimits(Struct, frozen=True, kw_only=True):
    """Limits of what one sandbox asks for, and of all together.

    connections: of one sandbox; more of them wait to be accepted.
    calls_per_second, burst: of one sandbox; faster ones wait.
    head_bytes: request line and headers, and whatever else is no body.
    head_seconds, body_seconds: for receiving a request's head, and its body.
    idle_seconds: for a connection without a request.
    stall_seconds: for an agent that does not read what it is sent.
    own_bytes: of bodies, that every sandbox may always hold.
    most_bytes: of bodies, that one may hold; what is more than its own comes from the pool.
    pool_bytes: what all may hold together beside their own.
    close_seconds: for calls to end when their sandbox is closed.
    """

    connections: int = 128
    calls_per_second: float = 1000.0
    burst: int = 2000
    head_bytes: int = 32 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    idle_seconds: float = 75.0
    stall_seconds: float = 60.0
    own_bytes: int = 4 << 20
    most_bytes: int = 48 << 20
    pool_bytes: int = 256 << 20
    close_seconds: float = 10.0


class Pool:
    """Bytes that all sandboxes share."""

    def __init__(self, left: int) -> None:
        self.left = left


class Bytes:
    """The bytes of request bodies that one sandbox holds in our memory."""

    def __init__(self, limits: GatewayLimits, pool: Pool) -> None:
        self._limits = limits
        self._pool = pool
        self.held = 0

    def take(self, count: int) -> None:
        """Hold more. Raises LimitReached for too much of it, Unavailable when others have it."""
        held = self.held + count
        if held > self._limits.most_bytes:
            raise LimitReached(
                f"The bodies of this agent's calls under way are more than "
                f"{self._limits.most_bytes} bytes.",
                retry_after=RETRY_SECONDS,
            )
        more = self._pooled(held) - self._pooled(self.held)
        if more > self._pool.left:
            raise Unavailable("The gateway's memory is used up.", retry_after=RETRY_SECONDS)
        self._pool.left -= more
        self.held = held

    def give_back(self, count: int) -> None:
        """Hold less."""
        held = self.held - count
        self._pool.left += self._pooled(self.held) - self._pooled(held)
        self.held = held

    def _pooled(self, held: int) -> int:
        return max(0, held - self._limits.own_bytes)


class Pace:
    """Lets so many through a second, after a burst; the others wait for their turn."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval = 1 / per_second
        self._ahead = burst * self._interval
        self._next = 0.0

    async def turn(self) -> None:
        """Return when it is one's turn."""
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now - self._ahead) + self._interval
        if self._next > now:
            await asyncio.sleep(self._next - now)
