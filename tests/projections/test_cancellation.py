"""A projector that is stopped at any moment leaves no thread, no file and no hang behind."""

import asyncio
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from domain.errors import Unavailable
from projections.databases import open_database, to_the_end
from projections.reads import open_reads


@pytest.mark.parametrize("turns", range(30))
async def test_work_on_a_database_ends_whenever_it_is_cancelled(tmp_path: Path, turns: int) -> None:
    """The first connects, so the turns of the loop reach from before the connect to its end."""
    engine = open_database(f"sqlite:///{tmp_path}/read.db", writes=True)

    @to_the_end
    async def work() -> None:
        async with engine.begin() as connection:
            await connection.execute(sa.text("SELECT 1"))

    async def for_ever() -> None:
        while True:
            await work()

    working = asyncio.create_task(for_ever())
    for _ in range(turns):
        await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    async with asyncio.timeout(10), engine.begin() as connection:  # the pool's only one is free
        assert await connection.scalar(sa.text("SELECT 1")) == 1
    await engine.dispose()


@pytest.mark.parametrize("turns", range(0, 30, 3))
async def test_a_list_ends_whenever_it_is_cancelled(tmp_path: Path, turns: int) -> None:
    """As a client that goes away does; closing then waits for no thread, and leaves none behind."""
    reads = await open_reads(f"sqlite:///{tmp_path}/read.db")
    reading = asyncio.create_task(reads.positions())
    for _ in range(turns):
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    assert await reads.positions() == {}
    await reads.close()


async def test_what_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    """Whoever is told so may end the loop at once, as a command does."""
    before = set(threading.enumerate())
    reads = await open_reads(f"sqlite:///{tmp_path}")  # a directory
    with pytest.raises(Unavailable):
        await reads.positions()

    left = [each for each in set(threading.enumerate()) - before if "asyncio" not in each.name]
    assert left == []
    await reads.close()


async def test_what_failed_after_the_cancel_is_a_cancellation_still() -> None:
    begun = asyncio.Event()

    @to_the_end
    async def work() -> None:
        begun.set()
        await asyncio.sleep(0)
        raise ValueError("too late to matter")

    working = asyncio.create_task(work())
    await begun.wait()
    working.cancel()

    with pytest.raises(asyncio.CancelledError):
        await working
