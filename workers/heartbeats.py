"""Keeping leases alive, and saying at once when one is lost."""

import asyncio
import time
from collections.abc import Callable

import structlog

from domain.errors import Unavailable
from domain.ports import Leases

# While renewals fail, they are tried this often.
RETRY_SECONDS = 0.25

log = structlog.stdlib.get_logger(__name__)


class Heartbeats:
    """Renews all leases of one owner, three times per lease; one task per process.

    lost: called once, with the stream, when its lease is somebody else's or has run out on this
        machine's clock: whoever works on it must stop.
    stray: called with a stream whose lease is renewed although nobody here works on it.
    """

    def __init__(
        self,
        leases: Leases,
        owner: str,
        seconds: float,
        *,
        lost: Callable[[str], None],
        stray: Callable[[str], None],
    ) -> None:
        self._leases = leases
        self._owner = owner
        self._seconds = seconds
        self._lost = lost
        self._stray = stray
        self._held: dict[str, float] = {}
        self._claiming: set[str] = set()

    def claiming(self, stream: str) -> None:
        """Announce a claim, so that its lease is not taken for a stray one."""
        self._claiming.add(stream)

    def hold(self, stream: str, until: float) -> None:
        """Note a lease that was taken; `until` on the monotonic clock."""
        self._held[stream] = until
        self._claiming.discard(stream)

    def settle(self, stream: str) -> None:
        """Announce the append that ends the work and drops its lease: neither lost nor stray."""
        if self._held.pop(stream, None) is not None:
            self._claiming.add(stream)

    def forget(self, stream: str) -> None:
        """Note that nobody works on the stream any more, whatever became of it."""
        self._held.pop(stream, None)
        self._claiming.discard(stream)

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            renewed = await self._renew()
            self._expire()
            pause = self._seconds / 3 if renewed else RETRY_SECONDS
            await asyncio.sleep(min(pause, self._next_expiry()))

    async def _renew(self) -> bool:
        asked = time.monotonic()
        known = set(self._held)
        busy = known | self._claiming
        try:
            # No longer than until the first lease runs out, which is then to be said at once.
            async with asyncio.timeout(min(self._seconds / 3, self._next_expiry())):
                held = await self._leases.renew(self._owner, self._seconds)
        except (Unavailable, TimeoutError) as error:
            log.warning("leases.not_renewed", owner=self._owner, error=str(error))
            return False
        for stream in known & held:
            if stream in self._held:
                self._held[stream] = asked + self._seconds
        for stream in known - held:
            self._lose(stream, "it was taken over")
        for stream in held - busy - self._claiming - set(self._held):
            self._stray(stream)
        return True

    def _expire(self) -> None:
        now = time.monotonic()
        for stream, until in list(self._held.items()):
            if until <= now:
                self._lose(stream, "it could not be renewed in time")

    def _lose(self, stream: str, why: str) -> None:
        if self._held.pop(stream, None) is not None:
            log.warning("lease.lost", stream=stream, owner=self._owner, why=why)
            self._lost(stream)

    def _next_expiry(self) -> float:
        if not self._held:
            return self._seconds
        return max(0.0, min(self._held.values()) - time.monotonic())
