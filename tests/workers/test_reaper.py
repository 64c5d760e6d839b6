"""Work that nobody does is found: lost hints, and owners that are gone."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from rq import Queue

from adapters.event_store.scripts import Script
from adapters.job_queue import open_rq_queue
from domain.builds import MAX_ATTEMPTS, BuildEnded, BuildRetried
from domain.deployments import DEPLOYMENT, Active
from domain.entries import LogWritten, MessageSaid
from domain.handling import Unit
from domain.jobs import RUNS
from domain.ports import Answer, Change, Held, Meta
from domain.runs import RunRetried
from tests.redis_server import RedisServer, empty
from tests.workers.worlds import World, eventually, tending
from workers import reaper
from workers.claims import claim_build, claim_run
from workers.dispatcher import ROLE
from workers.histories import read_history
from workers.losing import Loss, end_after_bug, lose
from workers.reaper import sweep
from workers.retention import DAY_SECONDS

LEASE_SECONDS = 2.0


async def expired(world: World, stream: str) -> Held:
    """Return a lease as soon as it has run out."""
    async with asyncio.timeout(15):
        while True:
            for held in await world.services.leases.expired():
                if held.stream == stream:
                    return held
            await asyncio.sleep(0.02)


async def claimed(world: World, *, max_attempts: int = 1) -> tuple[str, str]:
    """Return a run that a host holds which will never be heard of again: id and stream."""
    await world.deploy(max_attempts=max_attempts)
    run_id = await world.request()
    claim = await claim_run(world.services, run_id, "gone")
    assert claim is not None
    return run_id, claim.stream


def told(queue: Queue, id: str = "") -> Callable[[], Awaitable[bool]]:
    """Whether a hint waits: this one, or any."""

    async def look() -> bool:
        waiting = await asyncio.to_thread(queue.get_job_ids)
        return id in waiting if id else bool(waiting)

    return look


async def say(world: World, stream: str, *, attempt: int = 1, system: bool = False) -> None:
    entry = LogWritten(stream="system", line="x") if system else MessageSaid(text="x")
    change = Change(stream=stream, events=[entry], attempt=attempt)
    await world.services.store.append([change], world.meta())


async def test_a_run_whose_hint_was_lost_is_told_again_within_seconds(
    world: World, redis_server: RedisServer
) -> None:
    await world.deploy()
    async with tending(world):
        run_id = await world.request()
        start = time.monotonic()
        with redis_server.client() as client:
            queue = open_rq_queue(RUNS, client)
            await eventually(told(queue))
            empty(client)

            await eventually(told(queue, f"run-{run_id}-1"))
        assert time.monotonic() - start < 8


async def test_a_hint_that_still_waits_is_not_doubled(
    world: World, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "AGAIN_SECONDS", 0.1)
    await world.deploy()
    async with tending(world):
        run_id = await world.request()
        await eventually(lambda: world.held(run_id))
        offered = await world.held(run_id)
        assert offered is not None
        await world.services.leases.postpone([offered.stream], 0)

        async def told_again() -> bool:
            held = await world.held(run_id)
            return held is not None and 0 < (offered.expires_at - held.expires_at).seconds < 5

        await eventually(told_again)
        await asyncio.sleep(0.5)  # several sweeps
        with redis_server.client() as client:
            assert open_rq_queue(RUNS, client).get_job_ids() == [f"run-{run_id}-1"]


async def test_a_run_of_which_nothing_was_seen_is_tried_again(
    world: World, redis_server: RedisServer
) -> None:
    """Also when its lease was offered anew meanwhile: the dispatcher only comes here."""
    run_id, stream = await claimed(world)
    await say(world, stream, system=True)
    await expired(world, stream)

    async with tending(world):
        retried = await world.until(run_id, RunRetried)
        assert retried.attempt == 1
        with redis_server.client() as client:
            queue = open_rq_queue(RUNS, client)
            await eventually(told(queue, f"run-{run_id}-2"))
        second = await claim_run(world.services, run_id, "another")
    assert second is not None
    assert second.attempt == 2


async def test_a_run_of_which_something_was_seen_ends(world: World) -> None:
    run_id, stream = await claimed(world)
    await say(world, stream)
    await expired(world, stream)

    await sweep(world.services, "reaper")

    end = await world.ended(run_id)
    assert (end.how, end.reason, end.attempt) == ("failed", "worker_lost", 1)
    history = await read_history(world.services.store, stream)
    assert (end.entries, end.entries_root) == (1, history.frontier.root())
    assert await world.services.leases.held(stream) is None


async def test_answers_that_are_old_are_forgotten_beside(world: World) -> None:
    store = world.services.store
    answer = Answer(scope="w1", key="k1", body_hash="h1", body=b"the answer")
    logged = Change(stream="run-other", events=[LogWritten(stream="system", line="x")])
    meta = Meta(actor="key:k1", workspace_id="w1", command_id="c1")
    await store.append([logged], meta, answer=answer)

    def age() -> Script[None]:
        days = world.services.settings.keep_answers_days
        yield "UPDATE commands SET at = at - $1", (round((days + 1) * DAY_SECONDS * 1e6),)

    await store.database.transact(age())

    async def forgotten() -> bool:
        return await store.answered("w1", "k1", "h1") is None

    async with tending(world):
        await eventually(forgotten)


async def test_a_deployment_may_allow_more_attempts(world: World) -> None:
    run_id, stream = await claimed(world, max_attempts=2)
    await say(world, stream)
    await expired(world, stream)

    await sweep(world.services, "reaper")
    await world.until(run_id, RunRetried)
    assert await claim_run(world.services, run_id, "gone too") is not None
    await say(world, stream, attempt=2)
    await expired(world, stream)
    await sweep(world.services, "reaper")

    end = await world.ended(run_id)
    assert (end.reason, end.attempt, end.entries) == ("worker_lost", 2, 2)


async def test_a_run_that_keeps_losing_its_worker_unseen_ends(world: World) -> None:
    run_id, stream = await claimed(world)
    for attempt in (1, 2, 3):
        loss = Loss(stream=stream, attempt=attempt, said_by="reaper", detail="lost")
        assert await lose(world.services, loss)
        await claim_run(world.services, run_id, "gone")

    assert (await world.ended(run_id)).reason == "worker_lost"


async def test_a_cancelled_run_whose_worker_is_gone_ends_as_cancelled(world: World) -> None:
    run_id, stream = await claimed(world)
    await world.cancel(run_id)
    await expired(world, stream)

    await sweep(world.services, "reaper")

    assert (await world.ended(run_id)).how == "cancelled"


async def test_saying_a_loss_twice_or_late_changes_nothing(world: World) -> None:
    run_id, stream = await claimed(world)
    loss = Loss(stream=stream, attempt=1, said_by="reaper", detail="lost")

    said = await asyncio.gather(*(lose(world.services, loss) for _ in range(4)))
    assert sum(said) == 1
    assert await claim_run(world.services, run_id, "another") is not None
    assert not await lose(world.services, loss)

    history = await world.history(run_id)
    assert sum(isinstance(each.event, RunRetried) for each in history) == 1
    held = await world.services.leases.held(stream)
    assert held is not None
    assert held.owner == "another"


async def test_leases_of_work_that_is_over_are_forgotten(world: World) -> None:
    await world.deploy()
    run_id = await world.request()
    async with tending(world):
        await eventually(lambda: world.held(run_id))
        await world.cancel(run_id)
        await world.services.leases.postpone([f"run-{run_id}"], 0)

        async def forgotten() -> bool:
            return await world.held(run_id) is None

        await eventually(forgotten)


async def test_a_lost_build_is_always_tried_again_until_it_is_clear_who_loses_it(
    world: World,
) -> None:
    deployed = await world.deploy(requirements="some-package==1.0\n")
    stream = f"build-{deployed.build_id}"
    run_id = await world.request()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        claim = await claim_build(world.services, deployed.build_id, "gone")
        assert claim is not None
        assert claim.attempt == attempt
        loss = Loss(stream=stream, attempt=attempt, said_by="reaper", detail="lost")
        assert await lose(world.services, loss)

    retried = await world.until_all(stream, BuildRetried, MAX_ATTEMPTS - 1)
    (end,) = await world.until_all(stream, BuildEnded, 1)
    assert len(retried) == MAX_ATTEMPTS - 1
    assert (end.how, end.step) == ("failed", "worker")
    deployment = await Unit(world.services.store).state(DEPLOYMENT, deployed.deployment_id)
    assert isinstance(deployment, Active)
    assert [each.status for each in deployment.revisions.values()] == ["failed"]
    assert await claim_run(world.services, run_id, "host") is not None  # it can end now


async def test_a_bug_ends_its_run_with_the_transcript_as_it_is(world: World) -> None:
    run_id, stream = await claimed(world)
    await say(world, stream)

    loss = Loss(stream=stream, attempt=1, said_by="host", detail="Argosy could not run it.")
    await end_after_bug(world.services, loss)

    end = await world.ended(run_id)
    assert (end.how, end.reason, end.entries) == ("failed", "harness_error", 1)


async def test_progress_is_kept(world: World) -> None:
    await world.deploy()
    await world.request()
    async with tending(world):
        await eventually(lambda: world.services.leases.progress(ROLE))
