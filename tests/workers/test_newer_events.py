"""Events of a newer version in the log: workers pass over them, and leave their work to others."""

import asyncio

import pytest

from domain.decider import Event
from domain.errors import WrittenByNewer
from domain.handling import Unit
from domain.ports import Change
from domain.runs import RUN, RunRetried
from tests.workers.worlds import World, eventually, hosting, workshop


class RunPaused(Event, tag="run.paused"):
    """A type that this version does not know."""

    run_id: str


@pytest.fixture(autouse=True)
def needs_sandboxes(world: World) -> None:
    """Skip where there are none."""
    workshop(world.services)


async def test_work_goes_on_around_what_only_a_newer_version_can_do(world: World) -> None:
    """Neither dispatcher, reaper nor host dies of it, or does what it cannot judge."""
    await world.deploy()
    new = [await world.request() for _ in range(3)]
    for run in new:
        paused = Change(stream=f"run-{run}", events=[RunPaused(run_id=run)])
        await world.services.store.append([paused], world.meta())
    async with hosting(world):
        # They are offered, and nobody takes them: the reaper finds them every time from now on.
        await eventually(lambda: _run_out(world, new))
        await asyncio.gather(*(_refused(world, run) for run in new))
        others = [await world.request() for _ in range(3)]
        ended = await asyncio.gather(*(world.ended(run) for run in others))

    assert [each.how for each in ended] == ["completed"] * 3
    for run in new:
        types = [each.type for each in await world.history(run)]
        assert types == ["run.requested", "run.paused"]


async def _run_out(world: World, runs: list[str]) -> bool:
    expired = {held.stream for held in await world.services.leases.expired(10)}
    return expired >= {f"run-{run}" for run in runs}


async def _refused(world: World, run: str) -> None:
    with pytest.raises(WrittenByNewer, match="upgrade this process"):
        await Unit(world.services.store).state(RUN, run)
    assert RunRetried.tag() not in {each.type for each in await world.history(run)}
