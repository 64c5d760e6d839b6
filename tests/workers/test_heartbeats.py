"""Leases are kept while they are, and whoever loses one is told in time."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from domain.errors import Unavailable
from domain.ports import Change, DropLease, Leases, TakeLease
from tests.workers.worlds import World, eventually
from workers import heartbeats
from workers.heartbeats import Heartbeats

OWNER = "host-1"
SECONDS = 0.6


class Rows:
    """The leases of one owner, and what its heartbeats said."""

    def __init__(self, world: World, leases: Any = None) -> None:
        self.world = world
        self.lost: list[str] = []
        self.strays: list[str] = []
        self.beats = Heartbeats(
            leases or world.services.leases,
            OWNER,
            SECONDS,
            lost=self.lost.append,
            stray=self.strays.append,
        )

    async def take(self, stream: str, owner: str = OWNER) -> None:
        lease = TakeLease(owner=owner, seconds=SECONDS)
        change = Change(stream=stream, fence=1, lease=lease)
        await self.world.services.store.append([change], self.world.meta())

    async def drop(self, stream: str) -> None:
        change = Change(stream=stream, lease=DropLease())
        await self.world.services.store.append([change], self.world.meta())

    async def hold(self, stream: str) -> None:
        until = time.monotonic() + SECONDS
        await self.take(stream)
        self.beats.hold(stream, until)

    @asynccontextmanager
    async def beating(self) -> AsyncGenerator[None]:
        task = asyncio.create_task(self.beats.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Away:
    """Leases in a database that cannot be reached while `away`."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self.away = False
        self.renewals = 0

    async def renew(self, owner: str, seconds: float) -> set[str]:
        self.renewals += 1
        if self.away:
            raise Unavailable("away")
        return await self._leases.renew(owner, seconds)


@pytest.fixture
def rows(quiet_world: World) -> Rows:
    """Heartbeats on a real log."""
    return Rows(quiet_world)


async def test_a_lease_that_is_kept_does_not_run_out(rows: Rows) -> None:
    await rows.hold("run-1")

    async with rows.beating():
        await asyncio.sleep(3 * SECONDS)

    assert await rows.world.services.leases.expired() == []
    assert (rows.lost, rows.strays) == ([], [])


async def test_a_lease_that_was_taken_is_lost_once(rows: Rows) -> None:
    await rows.hold("run-1")
    await rows.hold("run-2")
    async with rows.beating():
        await rows.take("run-1", owner="another")

        await eventually(lambda: _true(rows.lost))
        await asyncio.sleep(SECONDS)

    assert (rows.lost, rows.strays) == (["run-1"], [])


async def test_while_the_database_is_away_a_lease_runs_out_here_too(
    quiet_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "RETRY_SECONDS", 0.05)
    leases = Away(quiet_world.services.leases)
    rows = Rows(quiet_world, leases)
    await rows.hold("run-1")
    async with rows.beating():
        await eventually(lambda: _true(leases.renewals))
        leases.away = True
        start = time.monotonic()

        await eventually(lambda: _true(rows.lost))

    assert SECONDS / 2 < time.monotonic() - start <= SECONDS + 0.3


async def test_a_short_absence_costs_nothing(
    quiet_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "RETRY_SECONDS", 0.05)
    leases = Away(quiet_world.services.leases)
    rows = Rows(quiet_world, leases)
    await rows.hold("run-1")
    async with rows.beating():
        leases.away = True
        await asyncio.sleep(SECONDS / 3)
        leases.away = False
        await asyncio.sleep(2 * SECONDS)

    assert rows.lost == []


async def test_work_that_ends_is_neither_lost_nor_stray(rows: Rows) -> None:
    await rows.hold("run-1")
    async with rows.beating():
        rows.beats.settle("run-1")
        await asyncio.sleep(SECONDS)
        await rows.drop("run-1")
        rows.beats.forget("run-1")
        await asyncio.sleep(SECONDS)

    assert (rows.lost, rows.strays) == ([], [])


async def test_a_claim_under_way_is_no_stray(rows: Rows) -> None:
    rows.beats.claiming("run-1")
    await rows.take("run-1")
    async with rows.beating():
        await asyncio.sleep(SECONDS)

    assert rows.strays == []


async def test_a_lease_that_nobody_here_works_for_is_found(rows: Rows) -> None:
    await rows.take("run-1")

    async with rows.beating():
        await eventually(lambda: _true(rows.strays))

    assert rows.strays[0] == "run-1"


async def _true(value: object) -> bool:
    return bool(value)
