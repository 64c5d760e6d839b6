"""Following the log: woken by hints, and by a poll when none comes."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from domain.decider import Recorded

POLL_SECONDS = 1.0

type Page = tuple[list[Recorded[Any]], int]
"""Events, and the position up to which there are no others of the wanted types."""


class Tails:
    """The followers of one log in this process, and the hints that wake them."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()

    def wake(self) -> None:
        """Let all followers look now."""
        for hint in self._waiting:
            hint.set()

    async def follow(
        self, read: Callable[[int], Awaitable[Page]], after: int
    ) -> AsyncGenerator[list[Recorded[Any]]]:
        """Yield what `read` finds after a position, and go on from there, for ever.

        A hint that comes while a page is read counts for the next one, so none is lost; and
        positions become visible in order, so going on after the last one skips nothing.
        """
        hint = asyncio.Event()
        self._waiting.add(hint)
        try:
            while True:
                hint.clear()
                page, reached = await read(after)
                if page:
                    yield page
                if reached > after:
                    after = reached
                else:
                    await _wait(hint)
        finally:
            self._waiting.discard(hint)


async def _wait(hint: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(POLL_SECONDS):
            await hint.wait()
    except TimeoutError:
        return
