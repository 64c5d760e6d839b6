"""From facts to hints: what is recorded, what is told, and what survives whose death."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from adapters.job_queue import open_rq_queue
from adapters.settings import Settings
from adapters.wiring import open_services
from domain.builds import BUILD, BuildEnded, ClaimBuild
from domain.deploying import end_build
from domain.handling import Unit
from domain.jobs import BUILDS, RUNS
from tests.pages import grown, here
from tests.redis_server import RedisServer, empty
from tests.workers.worlds import World, eventually
from workers import leading
from workers.claims import claim_run
from workers.dispatcher import ROLE, run_dispatcher

NEEDS_BUILD = "some-package==1.0\n"


@asynccontextmanager
async def dispatching(world: World) -> AsyncGenerator[None]:
    """A dispatcher while the block lasts."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_dispatcher(world.services, stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def told(server: RedisServer, queue: str, count: int) -> list[str]:
    """Return the ids of the hints in a queue as soon as there are `count`."""
    deadline = time.monotonic() + 10
    with server.client() as client:
        while len(ids := open_rq_queue(queue, client).get_job_ids()) < count:
            assert time.monotonic() < deadline, ids
            await asyncio.sleep(0.01)
    return ids


async def finish_build(world: World, build_id: str, how: str) -> None:
    """End a build as its worker does."""
    claim = ClaimBuild(build_id=build_id, worker="builder")
    await world.services.commands.send(BUILD, build_id, claim, world.meta(), fence=1)
    end = BuildEnded(
        build_id=build_id,
        how="failed" if how == "failed" else "succeeded",
        attempt=1,
        step="install",
        detail="no such package",
    )

    async def work(unit: Unit) -> None:
        await end_build(unit, end)

    await world.services.commands.run(work, world.meta(), key=build_id)


async def test_a_requested_run_is_recorded_and_told(
    world: World, redis_server: RedisServer
) -> None:
    await world.deploy()
    async with dispatching(world):
        run_id = await world.request()

        assert await told(redis_server, RUNS, 1) == [f"run-{run_id}-1"]
        await eventually(lambda: world.held(run_id))
    held = await world.held(run_id)
    assert held is not None
    assert held.owner == ""
    assert await world.services.leases.progress(ROLE) > 0


async def test_a_run_is_told_by_whoever_appended_it(
    world: World, redis_server: RedisServer
) -> None:
    await world.deploy()

    run_id = await world.request()  # and nobody dispatches

    assert await told(redis_server, RUNS, 1) == [f"run-{run_id}-1"]


async def test_what_was_claimed_meanwhile_needs_no_offer(
    world: World, redis_server: RedisServer
) -> None:
    await world.deploy()
    claimed, waiting = await world.request(), await world.request()
    assert await claim_run(world.services, claimed, "host") is not None
    await world.services.leases.drop(f"run-{claimed}", 1)

    async with dispatching(world):
        await eventually(lambda: world.held(waiting))

    assert await world.services.leases.held(f"run-{claimed}") is None


async def test_what_was_requested_while_nobody_dispatched_is_told_in_order(
    world: World, redis_server: RedisServer
) -> None:
    await world.deploy()
    runs = [await world.request() for _ in range(5)]
    await told(redis_server, RUNS, 5)
    with redis_server.client() as client:
        empty(client)

    async with dispatching(world):
        assert sorted(await told(redis_server, RUNS, 5)) == sorted(f"run-{id}-1" for id in runs)


async def test_a_dispatcher_that_starts_again_tells_nothing_twice(
    world: World, redis_server: RedisServer
) -> None:
    await world.deploy()
    run_id = await world.request()
    async with dispatching(world):
        await told(redis_server, RUNS, 1)
    with redis_server.client() as client:
        open_rq_queue(RUNS, client).delete()
    assert await claim_run(world.services, run_id, "host") is not None

    async with dispatching(world):
        second = await world.request()
        assert await told(redis_server, RUNS, 1) == [f"run-{second}-1"]


async def test_a_run_waits_for_its_build(world: World, redis_server: RedisServer) -> None:
    deployed = await world.deploy(requirements=NEEDS_BUILD)
    assert deployed.build_id
    async with dispatching(world):
        assert await told(redis_server, BUILDS, 1) == [f"build-{deployed.build_id}-1"]
        run_id = await world.request()
        instant = await world.deploy(name="other")
        assert instant.build_id == ""
        other = await world.request(name="other")
        assert await told(redis_server, RUNS, 1) == [f"run-{other}-1"]
        assert await claim_run(world.services, run_id, "host") is None  # not yet

        await finish_build(world, deployed.build_id, "succeeded")

        assert (await told(redis_server, RUNS, 2))[1] == f"run-{run_id}-1"
    assert await claim_run(world.services, run_id, "host") is not None


async def test_how_long_a_build_took_is_measured(world: World) -> None:
    before = here()
    async with dispatching(world):
        for name, how in (("one", "succeeded"), ("other", "failed")):
            deployed = await world.deploy(name=name, requirements=NEEDS_BUILD)
            await finish_build(world, deployed.build_id, how)

        async def measured() -> bool:
            new = grown(before, here())
            name, mode = "argosy_build_seconds_count", "FAST_OVERLAY"
            return [new.get((name, how, mode)) for how in ("succeeded", "failed")] == [1, 1]

        await eventually(measured)


async def test_a_run_requested_just_as_its_build_ends_does_not_wait_for_ever(
    world: World, redis_server: RedisServer
) -> None:
    """The build's end may lie before the request in the log: nothing will release it then."""
    deployed = await world.deploy(requirements=NEEDS_BUILD)
    run_id = await world.request()
    await finish_build(world, deployed.build_id, "failed")

    async with dispatching(world):
        assert f"run-{run_id}-1" in await told(redis_server, RUNS, 1)


async def test_redis_away_hinders_nothing_but_the_hint(
    world: World, redis_server: RedisServer
) -> None:
    await world.deploy()
    redis_server.kill()
    async with dispatching(world):
        run_id = await world.request()
        await eventually(lambda: world.held(run_id))
        redis_server.start()
        second = await world.request()
        assert f"run-{second}-1" in await told(redis_server, RUNS, 1)


async def test_one_dispatches_at_a_time_and_another_takes_over(
    world: World,
    settings: Settings,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leading, "LEADER_SECONDS", 1.0)
    await world.deploy()
    async with open_services(settings, name="second") as services:
        first_stop, second_stop = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(run_dispatcher(world.services, first_stop))
        one = await world.request()
        await eventually(lambda: world.held(one))
        second = asyncio.create_task(run_dispatcher(services, second_stop))
        two = await world.request()
        await eventually(lambda: world.held(two))

        first.cancel()  # without a word, as a crash
        await asyncio.gather(first, return_exceptions=True)
        three = await world.request()

        await eventually(lambda: world.held(three))
        second_stop.set()
        await second
