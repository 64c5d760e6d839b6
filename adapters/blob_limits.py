"""How much the blob store may hold: a full disk is met before it is full."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from domain.errors import Unavailable

MEASURE_EVERY_SECONDS = 300.0
MEASURE_AGAIN_SECONDS = 10.0  # once something was refused: there may be room again


class BlobStoreFull(Unavailable):
    """The blob store holds all that the operator lets it hold. Nothing was stored.

    The operator removes what nobody needs (`argosy gc --delete`), or sets ARGOSY_BLOB_LIMIT_MB.
    """

    type = "blob-store-full"
    status = 507
    title = "The blob store is full"


class BlobLimit:
    """The limit, as one process keeps it: it measures now and then and counts what it adds itself.

    Several processes together may therefore go over it by what they add in between.
    """

    def __init__(self, limit_mb: int, measure: Callable[[], Awaitable[int]]) -> None:
        self._limit = limit_mb << 20
        self._measure = measure
        self._used = 0
        self._due = 0.0
        self._turn = asyncio.Lock()

    async def refresh(self) -> None:
        """Measure if it is time to. To be awaited before `admit`. Raises Unavailable."""
        async with self._turn:
            if time.monotonic() >= self._due:
                self._used = await self._measure()
                self._due = time.monotonic() + MEASURE_EVERY_SECONDS

    def admit(self, size: int) -> None:
        """Count a new blob of so many bytes in. Raises BlobStoreFull. May be called in a thread."""
        if self._used + size > self._limit:
            self._due = min(self._due, time.monotonic() + MEASURE_AGAIN_SECONDS)
            raise BlobStoreFull(
                f"The blob store has {self._used >> 20} MB of the {self._limit >> 20} MB that it "
                f"may have, and {size / (1 << 20):.1f} MB more were to be stored. Its operator can "
                "remove what nobody needs (argosy gc --delete), or set ARGOSY_BLOB_LIMIT_MB."
            )
        self._used += size
