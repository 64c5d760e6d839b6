"""Work that has to be done although the database goes away meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from domain.errors import Unavailable

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0

log = structlog.stdlib.get_logger(__name__)


async def surely(work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` again while the database is away; whoever holds the lease cancels in time."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            await work()
        except Unavailable as error:
            log.warning("database.away", error=error.detail)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        else:
            return
