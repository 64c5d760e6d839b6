"""Following the log: woken by hints, and by a poll when none comes."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from domain.decider import Recorded
from domain.ports import Appended

POLL_SECONDS = 1.0

type Page = tuple[list[Recorded[Any]], int, bool]
"""Events, the position up to which there are no others of the wanted types, and whether more may
follow at once: not if all that was visible is in it."""


class Tails:
    """Those in this process who want to hear that the log has grown."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._callbacks: list[Callable[[Appended], None]] = []
        self._waiting: set[asyncio.Event] = set()
        self._hurried: set[asyncio.Event] = set()
        self._told = 0  # the position that the followers were last woken for

    def on_commit(self, callback: Callable[[Appended], None]) -> None:
        """Tell `callback` of every append of this process."""
        self._callbacks.append(callback)

    def committed(self, appended: Appended) -> None:
        """Pass on what was appended. A callback that fails is the loop's business, not ours."""
        self.wake(appended.position)
        for callback in self._callbacks:
            self._loop.call_soon(callback, appended)

    def wake(self, position: int) -> None:
        """Let all followers look now, unless they were told of this position before.

        What one process appends it hears again from Redis, and entries have no position.
        """
        if position <= self._told:
            return
        self._told = position
        for hint in self._waiting:
            hint.set()

    def hurry(self) -> None:
        """Let the followers that heed it gather no longer: somebody waits for what they do."""
        for hurry in self._hurried:
            hurry.set()

    async def follow(
        self,
        read: Callable[[int], Awaitable[Page]],
        after: int,
        gather: float = 0.0,
        *,
        hurried: bool = False,
    ) -> AsyncGenerator[list[Recorded[Any]]]:
        """Yield what `read` finds after a position, and go on from there, for ever.

        gather: seconds from a hint until it is read, so that more has come by then.
        hurried: `hurry` ends that.

        A hint that comes while a page is read counts for the next one, so none is lost; and
        positions become visible in order, so going on after the last one skips nothing.
        """
        hint, hurry = asyncio.Event(), asyncio.Event()
        self._waiting.add(hint)
        if hurried:
            self._hurried.add(hurry)
        try:
            while True:
                hint.clear()
                hurry.clear()
                page, reached, more = await read(after)
                if page:
                    yield page
                after = max(after, reached)
                if not more and await _wait(hint, POLL_SECONDS) and gather:
                    await _wait(hurry, gather)
        finally:
            self._waiting.discard(hint)
            self._hurried.discard(hurry)


async def _wait(hint: asyncio.Event, seconds: float) -> bool:
    """Return True when it comes, False when the time is over."""
    try:
        async with asyncio.timeout(seconds):
            return await hint.wait()
    except TimeoutError:
        return False
