"""What the leases promise: who works on what, who asked for it, and what was lost."""

import asyncio
from collections.abc import Awaitable, Callable

from adapters.event_store.store import Store, open_store
from domain.builds import BuildEnded, BuildRequested
from domain.jobs import Job
from domain.ports import Change, DropLease, Held, Meta, TakeLease
from domain.runs import RunClaimed, RunRequested

ME = Meta(actor="worker:h1", workspace_id="w1", command_id="c1")
RUN = Job("runs", "run-r1-1", "run-r1")
BUILD = Job("builds", "build-b1-1", "build-b1")
PARKED = Job("runs", "run-r1-1", "run-r1", after="build-b1")
A_MOMENT = 0.02  # seconds; leases in these tests run out after so long


async def offer(store: Store, *jobs: Job, position: int = 1) -> list[Job]:
    return await store.leases.offer(jobs, follower="dispatcher", position=position)


async def release(store: Store, stream: str, position: int = 1) -> list[Held]:
    return await store.leases.release(stream, follower="dispatcher", position=position)


async def request(store: Store) -> None:
    requested = RunRequested(
        run_id="r1",
        workspace_id="w1",
        agent_id="a1",
        agent_name="a1",
        deployment_id="d1",
        slug="a1",
        revision=1,
        message="hello",
    )
    await store.append([Change(stream="run-r1", events=[requested], expected=0)], ME)


async def claim(
    store: Store, owner: str = "h1", *, attempt: int = 1, seconds: float = 10.0
) -> None:
    """Take the run as a worker does: the fact, the attempt and the lease in one append."""
    claimed = RunClaimed(run_id="r1", attempt=attempt, worker=owner)
    lease = TakeLease(owner=owner, seconds=seconds, address="10.0.0.1:9000")
    change = Change(stream="run-r1", events=[claimed], expected=attempt, fence=attempt, lease=lease)
    await store.append([change], ME)


async def until[T](read: Callable[[], Awaitable[T]]) -> T:
    """Wait until there is something to be read."""
    async with asyncio.timeout(10):
        while not (found := await read()):  # noqa: ASYNC110  # another clock runs out
            await asyncio.sleep(0.005)
    return found


async def test_work_is_enqueued_once_however_often_it_is_offered(store: Store) -> None:
    assert await offer(store, RUN, BUILD) == [RUN, BUILD]
    assert await offer(store, RUN, BUILD) == []

    held = await store.leases.held("run-r1")
    assert held is not None
    assert (held.owner, held.attempt, held.after) == ("", 0, "")


async def test_work_that_is_held_is_not_enqueued(store: Store) -> None:
    await request(store)
    await claim(store)

    assert await offer(store, RUN) == []

    held = await store.leases.held("run-r1")
    assert held is not None
    assert (held.owner, held.attempt, held.address) == ("h1", 1, "10.0.0.1:9000")


async def test_a_retry_replaces_the_job_of_the_attempt_that_was_lost(store: Store) -> None:
    await request(store)
    await offer(store, RUN)
    await claim(store, seconds=A_MOMENT)
    await until(store.leases.expired)
    retry = Job("runs", "run-r1-2", "run-r1")

    assert await offer(store, retry) == [retry]

    held = await store.leases.held("run-r1")
    assert held is not None
    assert (held.owner, held.attempt) == ("", 1)
    assert await store.leases.expired() == []


async def test_a_retry_is_counted_although_the_lost_attempt_left_no_row(store: Store) -> None:
    """Whoever enqueues unclaimed work again makes the same job of it as the dispatcher did."""
    await offer(store, Job("runs", "run-r1-3", "run-r1"))

    held = await store.leases.held("run-r1")
    assert held is not None
    assert (held.owner, held.attempt) == ("", 2)


async def test_how_far_a_follower_has_read_is_kept_and_never_goes_back(store: Store) -> None:
    assert await store.leases.progress("dispatcher") == 0

    await offer(store, RUN, position=7)
    await release(store, "build-b1", position=9)
    await offer(store, position=8)

    assert await store.leases.progress("dispatcher") == 9
    assert await store.leases.progress("other") == 0


async def test_parked_work_waits_until_it_is_released(store: Store) -> None:
    await offer(store, BUILD)
    assert await offer(store, PARKED) == []
    parked = await store.leases.held("run-r1")
    assert parked is not None
    assert parked.after == "build-b1"
    assert await release(store, "build-b2") == []

    released = await release(store, "build-b1")

    assert [each.stream for each in released] == ["run-r1"]
    assert released[0].after == ""
    assert await release(store, "build-b1") == []
    assert await store.leases.held("build-b1") is None


async def test_parked_work_does_not_expire(store: Store) -> None:
    await store.append([_lease("run-other", TakeLease(owner="h1", seconds=A_MOMENT))], ME)
    await offer(store, PARKED)
    await store.leases.postpone(["run-r1"], -60)

    expired = await until(store.leases.expired)

    assert [each.stream for each in expired] == ["run-other"]


async def test_work_that_waits_for_what_has_already_ended_starts_at_once(store: Store) -> None:
    """The run was asked for while its build ended: the end stands before it in the log."""
    requested = BuildRequested(
        build_id="b1",
        workspace_id="w1",
        agent_id="a1",
        agent_name="a1",
        version=1,
        deployment_id="d1",
        revision=1,
        mode="FAST_OVERLAY",
    )
    ended = BuildEnded(build_id="b1", attempt=1, how="failed")
    await store.append([Change(stream="build-b1", events=[requested], expected=0)], ME)
    assert await offer(store, PARKED) == []
    await store.leases.drop("run-r1", 0)
    await store.append([Change(stream="build-b1", events=[ended], expected=1)], ME)

    assert await offer(store, PARKED) == [PARKED]


async def test_unclaimed_work_expires_and_can_be_given_more_time(store: Store) -> None:
    await offer(store, RUN)
    assert await store.leases.expired() == []
    await store.leases.postpone(["run-r1"], -1)

    expired = await store.leases.expired()

    assert [(each.stream, each.owner) for each in expired] == [("run-r1", "")]
    await store.leases.postpone(["run-r1"], 5)
    assert await store.leases.expired() == []


async def test_postponing_does_not_touch_what_is_held(store: Store) -> None:
    await request(store)
    await claim(store, seconds=A_MOMENT)

    await store.leases.postpone(["run-r1"], 60)

    assert [each.owner for each in await until(store.leases.expired)] == ["h1"]


async def test_renewing_keeps_what_is_held_and_says_what_it_is(store: Store) -> None:
    await store.append([_lease("run-r1", TakeLease(owner="h1", seconds=A_MOMENT))], ME)
    await store.append([_lease("run-r2", TakeLease(owner="h1", seconds=A_MOMENT))], ME)
    await store.append([_lease("run-r3", TakeLease(owner="h2", seconds=60))], ME)

    assert await store.leases.renew("h1", 60) == {"run-r1", "run-r2"}

    assert await store.leases.expired() == []
    await store.append([_lease("run-r2", DropLease())], ME)
    assert await store.leases.renew("h1", 60) == {"run-r1"}
    assert await store.leases.renew("h3", 60) == set()


async def test_the_oldest_expire_first(store: Store) -> None:
    for number in (2, 1, 3):
        await offer(store, Job("runs", f"run-{number}-1", f"run-{number}"))
        await store.leases.postpone([f"run-{number}"], -number)

    expired = await store.leases.expired(limit=2)

    assert [each.stream for each in expired] == ["run-3", "run-2"]


async def test_a_takeover_takes_the_lease_with_it(store: Store) -> None:
    await request(store)
    await claim(store)
    await claim(store, "h2", attempt=2)

    assert await store.leases.renew("h1", 60) == set()
    held = await store.leases.held("run-r1")
    assert held is not None
    assert (held.owner, held.attempt) == ("h2", 2)
    assert (await store.load("run-r1")).attempt == 2


async def test_dropping_leaves_what_a_later_attempt_holds(store: Store) -> None:
    await request(store)
    await claim(store)
    await claim(store, "h2", attempt=2)

    await store.leases.drop("run-r1", 1)
    assert await store.leases.held("run-r1") is not None

    await store.leases.drop("run-r1", 2)
    assert await store.leases.held("run-r1") is None


async def test_dropping_forgets_what_nobody_claimed(store: Store) -> None:
    await offer(store, RUN)

    await store.leases.drop("run-r1", 0)

    assert await store.leases.held("run-r1") is None


async def test_one_leads_at_a_time(store: Store, database_url: str) -> None:
    other = await open_store(database_url)
    leads = await asyncio.gather(
        *(store.leases.lead("reaper", f"a{n}", 60) for n in range(5)),
        *(other.leases.lead("reaper", f"b{n}", 60) for n in range(5)),
    )
    assert sum(leads) == 1
    assert await store.leases.lead("sealer", "other", 60)
    await other.close()


async def test_a_leader_stays_until_it_is_silent_or_resigns(store: Store) -> None:
    assert await store.leases.lead("reaper", "h1", 60)
    assert await store.leases.lead("reaper", "h1", 60)
    assert not await store.leases.lead("reaper", "h2", 60)
    await store.leases.resign("reaper", "h2")
    assert not await store.leases.lead("reaper", "h2", 60)

    await store.leases.resign("reaper", "h1")

    assert await store.leases.lead("reaper", "h2", A_MOMENT)
    assert await until(lambda: store.leases.lead("reaper", "h1", 60))


def _lease(stream: str, lease: TakeLease | DropLease) -> Change:
    return Change(stream=stream, lease=lease)
