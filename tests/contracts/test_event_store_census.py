"""What a store says of all the work that has not ended; on both databases."""

from adapters.event_store.store import Store
from domain.jobs import Job
from domain.ports import Change, Meta, TakeLease
from domain.runs import RunClaimed

ME = Meta(actor="worker:t", workspace_id="w1", command_id="c1")
CLAIMED = RunClaimed(run_id="r", attempt=1, worker="host-1")


async def test_work_is_counted_by_what_it_waits_for(store: Store) -> None:
    jobs = [
        Job("builds", "build-1-1", "build-1"),
        Job("runs", "run-1-1", "run-1"),
        Job("runs", "run-2-1", "run-2", "build-1"),
    ]
    await store.leases.offer(jobs, follower="t", position=0)
    for stream, seconds in (("run-3", 60.0), ("run-4", 60.0), ("run-5", -1.0)):
        lease = TakeLease(owner="host-1", seconds=seconds)
        change = Change(stream=stream, events=[CLAIMED], fence=1, lease=lease)
        await store.append([change], ME)

    assert sorted(await store.census()) == [
        ("build", "unclaimed", 1),
        ("run", "expired", 1),
        ("run", "held", 2),
        ("run", "parked", 1),
        ("run", "unclaimed", 1),
    ]
