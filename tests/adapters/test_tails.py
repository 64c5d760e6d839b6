"""Followers of the log look when there is something to see, and only then."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from adapters.event_store import tail
from adapters.event_store.tail import Page, Tails
from domain.agents import AgentArchived
from domain.decider import Recorded
from domain.ports import Appended
from tests.recording import record

TURNS = 5  # of the loop, after which a follower that has nothing to do waits


class Log:
    """Positions up to `head`, of which a page holds two; counts how often it was read."""

    def __init__(self) -> None:
        self.head = 0
        self.reads = 0
        self.tails = Tails()

    async def read(self, after: int) -> Page:
        """Return the next page."""
        self.reads += 1
        last = min(self.head, after + 2)
        found = [recorded_at(position) for position in range(after + 1, last + 1)]
        return found, max(after, last), len(found) == 2

    def follow(
        self, *, gather: float = 0.0, hurried: bool = False
    ) -> AsyncGenerator[list[Recorded[Any]]]:
        """Follow it from its beginning."""
        return self.tails.follow(self.read, 0, gather, hurried=hurried)


@pytest.fixture
async def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """A log whose followers do not look by themselves."""
    monkeypatch.setattr(tail, "POLL_SECONDS", 60)
    return Log()


async def positions(pages: AsyncGenerator[list[Recorded[Any]]]) -> list[int | None]:
    """Return the next page's positions."""
    async with asyncio.timeout(5):
        return [recorded.position for recorded in await anext(pages)]


async def settle() -> None:
    """Let everything go on that can."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


def recorded_at(position: int) -> Recorded[Any]:
    """Return some event."""
    archived = AgentArchived(agent_id="1")
    return record(archived, "agent-1", version=position, position=position)


async def test_a_position_is_looked_for_once_however_often_it_is_told(log: Log) -> None:
    async with aclosing(log.follow()) as pages:
        next_page = asyncio.create_task(positions(pages))
        await settle()
        log.head = 1
        log.tails.wake(1)
        assert await next_page == [1]
        next_page = asyncio.create_task(positions(pages))
        await settle()
        reads = log.reads

        log.tails.wake(1)
        log.tails.committed(Appended(position=1, recorded=()))
        await settle()

        assert log.reads == reads
        log.head = 2
        log.tails.wake(2)
        assert await next_page == [2]


async def test_a_page_that_is_full_is_followed_by_the_next_without_a_hint(log: Log) -> None:
    log.head = 5
    async with aclosing(log.follow()) as pages:
        assert [await positions(pages) for _ in range(3)] == [[1, 2], [3, 4], [5]]
        assert log.reads == 3


async def test_what_is_told_while_a_page_is_read_is_looked_for_after_it(log: Log) -> None:
    log.head = 1
    async with aclosing(log.follow()) as pages:
        assert await positions(pages) == [1]
        log.head = 2
        log.tails.wake(2)

        assert await positions(pages) == [2]


@pytest.mark.parametrize("early", [False, True])
async def test_who_gathers_goes_on_when_somebody_waits(log: Log, *, early: bool) -> None:
    async with (
        aclosing(log.follow(gather=60, hurried=True)) as heeding,
        aclosing(log.follow(gather=60)) as patient,
    ):
        heeds, waits = (asyncio.create_task(positions(each)) for each in (heeding, patient))
        await settle()
        log.head = 1
        if early:  # the list may be heard of before what it waits for
            log.tails.hurry()
        log.tails.wake(1)
        await settle()
        gathers = not heeds.done()
        log.tails.hurry()

        assert gathers is not early
        assert await heeds == [1]
        assert not waits.done()
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
