"""Run hosts as processes: what they run, what they lose, what they leave behind."""

import asyncio
import os
import signal
import time

import psutil
import pytest
from msgspec.structs import replace

from adapters.job_queue import open_rq_queue
from adapters.settings import Settings
from domain.entries import MessageSaid
from domain.ids import new_id
from domain.jobs import RUNS
from domain.runs import RunClaimed, RunEnded, RunRetried, RunStarted
from tests.pages import here
from tests.redis_server import RedisServer, empty
from tests.workers.worlds import (
    Process,
    World,
    eventually,
    hosting,
    processes,
    tending,
    workshop,
)

LONG = {"agent.py": "import time\nprint('up', flush=True)\ntime.sleep(60)\n"}
SILENT = {"agent.py": "import time\ntime.sleep(60)\n"}
SOME_SECONDS = {
    "agent.py": "import time\nfor n in range(25): print(n, flush=True); time.sleep(0.1)\n"
}


@pytest.fixture(autouse=True)
def needs_sandboxes(world: World) -> None:
    """Skip where there are none."""
    workshop(world.services)


async def outcomes(world: World, runs: list[str]) -> set[str]:
    return {end.how for end in await asyncio.gather(*(world.ended(run) for run in runs))}


def sandboxes_of(pid: int) -> list[str]:
    """Return the names of the sandboxes that a host has open."""
    mark = f"-{pid}-"
    found: list[str] = []
    for each in psutil.process_iter(["cmdline"]):
        words = each.info["cmdline"] or [""]
        if words[-1].startswith("argosy-") and mark in words[-1]:
            found.append(words[-1])
    return found


async def test_runs_of_several_hosts_all_end_well(world: World, settings: Settings) -> None:
    """Neither has slots for half of them, so that the one that is there first cannot take all."""
    await world.deploy(SOME_SECONDS)
    slots = replace(settings, run_slots=4)
    async with tending(world), processes(slots, "host", "host"):
        runs = [await world.request(f"{n}") for n in range(12)]

        assert await outcomes(world, runs) == {"completed"}

    owners: set[str] = set()
    for run in runs:
        claims = [each for each in await world.history(run) if isinstance(each.event, RunClaimed)]
        assert len(claims) == 1
        owners.add(claims[0].event.worker)
    assert len(owners) == 2


async def test_every_kind_of_worker_is_a_process(world: World, settings: Settings) -> None:
    await world.deploy()
    async with processes(settings, "dispatch", "reap", "host", "build") as started:
        run = await world.request()
        assert (await world.ended(run)).how == "completed"
        assert [await each.stop() for each in started] == [0, 0, 0, 0]
        assert not any("Traceback" in each.said() for each in started)


async def test_a_run_is_claimed_within_milliseconds(world: World, settings: Settings) -> None:
    await world.deploy()
    async with hosting(world):
        took: list[float] = []
        for _ in range(8):
            run = await world.request()
            await world.ended(run)
            history = await world.history(run)
            took.append((history[1].at - history[0].at).total_seconds())

    assert sorted(took)[4] < 0.1


async def test_a_run_is_cancelled_at_once(world: World, settings: Settings) -> None:
    await world.deploy(LONG)
    async with hosting(world):
        run = await world.request()
        await world.until(run, MessageSaid)
        start = time.monotonic()

        await world.cancel(run, "enough")

        end = await world.ended(run)
        assert time.monotonic() - start < 3
    assert (end.how, end.reason, end.detail) == ("cancelled", "requested", "enough")


async def test_a_run_is_cancelled_without_redis_too(
    world: World, settings: Settings, redis_server: RedisServer
) -> None:
    await world.deploy(LONG)
    async with hosting(world):
        run = await world.request()
        await world.until(run, MessageSaid)
        redis_server.kill()

        await world.cancel(run)

        assert (await world.ended(run, 5)).how == "cancelled"
        redis_server.start()


async def test_a_silent_run_whose_host_is_killed_is_taken_over(
    world: World, settings: Settings
) -> None:
    await world.deploy(SILENT)
    async with tending(world), processes(settings, "host") as (host,):
        run = await world.request()
        await world.until(run, RunStarted)
        start = time.monotonic()
        await host.kill()
        await world.until(run, RunRetried)
        assert time.monotonic() - start < settings.lease_seconds + 2
        async with processes(settings, "host"):
            assert len(await world.until_all(f"run-{run}", RunStarted, 2)) == 2
            await world.cancel(run)
            end = await world.ended(run)
    assert (end.how, end.attempt) == ("cancelled", 2)
    assert sandboxes_of(host.pid) == []


async def test_a_run_that_was_seen_ends_when_its_host_is_killed(
    world: World, settings: Settings
) -> None:
    await world.deploy(LONG)
    async with tending(world), processes(settings, "host") as (host,):
        run = await world.request()
        await world.until(run, MessageSaid)
        start = time.monotonic()
        await host.kill()

        end = await world.ended(run)

        assert time.monotonic() - start < settings.lease_seconds + 2
    assert (end.how, end.reason) == ("failed", "worker_lost")
    assert end.entries == 1


async def test_a_host_that_stops_hands_back_what_it_cannot_finish(
    world: World, settings: Settings
) -> None:
    await world.deploy(SILENT)
    async with tending(world), processes(settings, "host") as (host,):
        run = await world.request()
        await world.until(run, RunStarted)

        assert await host.stop() == 0

        retried = await world.until(run, RunRetried)
        assert "stopped" in retried.detail
    assert sandboxes_of(host.pid) == []


async def test_a_host_that_stops_lets_short_runs_end(world: World, settings: Settings) -> None:
    await world.deploy({"agent.py": "import time\ntime.sleep(1.5)\nprint('done')\n"})
    async with tending(world), processes(settings, "host") as (host,):
        run = await world.request()
        await world.until(run, RunStarted)

        assert await host.stop() == 0

        assert (await world.ended(run)).how == "completed"


async def test_a_frozen_host_that_wakes_up_disturbs_nothing(
    world: World, settings: Settings
) -> None:
    """Fencing: it still believes that the run is its own."""
    await world.deploy(SOME_SECONDS, max_attempts=2)
    async with tending(world), processes(settings, "host") as (host,):
        run = await world.request()
        await world.until(run, MessageSaid)
        os.kill(host.pid, signal.SIGSTOP)
        try:
            async with processes(settings, "host"):
                await world.until(run, RunRetried)
                await world.until_all(f"run-{run}", RunStarted, 2)
                os.kill(host.pid, signal.SIGCONT)
                end = await world.ended(run)
        finally:
            os.kill(host.pid, signal.SIGCONT)
        await eventually(lambda: _none(sandboxes_of(host.pid)))

    assert (end.how, end.attempt) == ("completed", 2)
    history = await world.history(run)
    second = [each for each in history if isinstance(each.event, RunClaimed)][1]
    texts = [
        each.event.text
        for each in history
        if isinstance(each.event, MessageSaid) and each.version > second.version
    ]
    assert "".join(texts).split() == [str(n) for n in range(25)]
    assert end.entries == sum(each.position is None for each in history)


async def test_runs_go_on_and_new_ones_start_when_redis_lost_everything(
    world: World, settings: Settings, redis_server: RedisServer
) -> None:
    await world.deploy(SOME_SECONDS)
    await world.deploy(name="quick")
    async with hosting(world):
        run = await world.request()
        await world.until(run, MessageSaid)
        redis_server.kill()
        during = await world.request(name="quick")
        redis_server.start()
        start = time.monotonic()
        after = await world.request(name="quick")

        await world.until(after, RunStarted, 8)
        await world.until(during, RunStarted, 8)

        assert time.monotonic() - start < 8
        assert (await world.ended(run)).how == "completed"
        assert here()["argosy_redis_up", "hints"] == 1  # again


async def test_a_run_requested_while_its_hint_is_lost_starts_within_seconds(
    world: World, settings: Settings, redis_server: RedisServer
) -> None:
    await world.deploy()
    async with tending(world):
        run = await world.request()
        with redis_server.client() as client:
            queue = open_rq_queue(RUNS, client)
            await eventually(lambda: _some(queue.get_job_ids()))
            empty(client)
        start = time.monotonic()
        async with processes(settings, "host"):
            await world.until(run, RunStarted, 8)
            assert time.monotonic() - start < 8
            await world.ended(run)


async def test_a_host_without_slots_leaves_hints_to_others(
    world: World, settings: Settings
) -> None:
    await world.deploy(LONG)
    await world.deploy(name="quick")
    full = Process("host", settings, ARGOSY_RUN_SLOTS="1")
    try:
        await full.ready()
        async with tending(world):
            held = await world.request()
            await world.until(held, MessageSaid)
            async with processes(settings, "host"):
                run = await world.request(name="quick")
                assert (await world.ended(run)).how == "completed"
            await world.cancel(held)
            await world.ended(held)
    finally:
        await full.stop()


async def test_a_host_that_cannot_reach_its_database_at_the_start_says_so(
    settings: Settings,
) -> None:
    host = Process("host", settings, ARGOSY_DATABASE="postgresql://argosy@127.0.0.1:1/argosy")

    assert await asyncio.to_thread(host.process.wait, 20) == 1
    assert "Traceback" not in host.said()


async def test_an_unknown_run_is_nobodys_work(
    world: World, settings: Settings, redis_server: RedisServer
) -> None:
    await world.deploy()
    async with hosting(world):
        with redis_server.client() as client:
            queue = open_rq_queue(RUNS, client)
            queue.enqueue("workers.jobs.host_run", args=(f"run-{new_id()}",))  # pyright: ignore[reportUnknownMemberType]
        run = await world.request()
        assert isinstance(await world.ended(run), RunEnded)


async def _none(found: list[str]) -> bool:
    return not found


async def _some(found: list[str]) -> bool:
    return bool(found)
