"""Workers that are told to stop: what they finish, and what they hand back, and when."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from adapters.settings import Settings
from domain.builds import BuildEnded, BuildRetried
from domain.entries import MessageSaid
from domain.runs import RunClaimed, RunRetried, RunStarted
from tests.workers.packages import HoldingIndex, make_wheel, serve
from tests.workers.worlds import Process, World, eventually, processes, tending, workshop

LONG = {"agent.py": "import time\nprint('up', flush=True)\ntime.sleep(60)\n"}
SILENT = {"agent.py": "import time\ntime.sleep(60)\n"}
# Longer than a lease, so that it has to be renewed on the way.
SOME_SECONDS = {
    "agent.py": "import time\nfor n in range(40): print(n, flush=True); time.sleep(0.1)\n"
}
USES_GREETING = {
    "agent.py": "import greeting\nprint(greeting.VERSION)\n",
    "requirements.txt": "greeting==1.0\n",
}
DRAIN_SECONDS = 20.0


@pytest.fixture(autouse=True)
def needs_sandboxes(world: World) -> None:
    """Skip where there are none."""
    workshop(world.services)


@pytest.fixture
def patient(settings: Settings) -> Settings:
    """Settings with a long time to drain."""
    return replace(settings, drain_seconds=DRAIN_SECONDS)


@pytest.fixture
def index(settings: Settings) -> Iterator[HoldingIndex]:
    """An index that does not answer for its only package until it is let go."""
    folder = settings.data / "wheels"
    make_wheel(folder, "greeting", "1.0")
    holding = HoldingIndex(folder)
    holding.held = "greeting"
    with serve(holding):
        try:
            yield holding
        finally:
            holding.let_go.set()


async def said(process: Process, words: str) -> None:
    """Return when a process has said something."""

    async def has() -> bool:
        return words in process.said()

    await eventually(has)


async def test_a_draining_host_finishes_its_runs_and_takes_no_new_ones(
    world: World, patient: Settings
) -> None:
    await world.deploy(SOME_SECONDS)
    async with tending(world), processes(patient, "host") as (first,):
        run = await world.request()
        await world.until(run, MessageSaid)
        stopping = asyncio.create_task(first.stop())
        await said(first, "host.draining")

        new = await world.request()
        async with processes(patient, "host"):
            assert (await world.ended(run)).how == "completed"
            assert await stopping == 0
            assert (await world.ended(new)).how == "completed"

    claims = [
        [
            each.event.worker
            for each in await world.history(id)
            if isinstance(each.event, RunClaimed)
        ]
        for id in (run, new)
    ]
    assert [len(each) for each in claims] == [1, 1]
    assert claims[0] != claims[1]


async def test_a_second_signal_hands_back_at_once(world: World, patient: Settings) -> None:
    await world.deploy(SILENT)
    async with tending(world), processes(patient, "host") as (host,):
        run = await world.request()
        await world.until(run, RunStarted)
        stopping = asyncio.create_task(host.stop())
        await said(host, "host.draining")
        start = time.monotonic()

        os.kill(host.pid, signal.SIGTERM)

        await world.until(run, RunRetried)
        assert await stopping == 0
        assert time.monotonic() - start < DRAIN_SECONDS / 2


async def test_a_draining_host_still_hears_of_cancellations(
    world: World, patient: Settings
) -> None:
    await world.deploy(LONG)
    async with tending(world), processes(patient, "host") as (host,):
        run = await world.request()
        await world.until(run, MessageSaid)
        stopping = asyncio.create_task(host.stop())
        await said(host, "host.draining")
        start = time.monotonic()

        await world.cancel(run)

        assert (await world.ended(run)).how == "cancelled"
        assert await stopping == 0
        assert time.monotonic() - start < DRAIN_SECONDS / 2


async def test_what_was_seen_and_outlasts_the_drain_ends(world: World, settings: Settings) -> None:
    await world.deploy(LONG)
    async with tending(world), processes(replace(settings, drain_seconds=0.5), "host") as (host,):
        run = await world.request()
        await world.until(run, MessageSaid)

        assert await host.stop() == 0

        end = await world.ended(run)
    assert (end.how, end.reason) == ("failed", "worker_lost")
    assert "stopped" in end.detail


async def test_a_build_worker_finishes_its_build(
    world: World, patient: Settings, index: HoldingIndex
) -> None:
    deployed = await world.deploy(USES_GREETING, requirements="greeting==1.0\n")
    stream = f"build-{deployed.build_id}"
    async with tending(world), processes(_from(patient, index), "build") as (worker,):
        assert await asyncio.to_thread(index.reached.wait, 20)
        stopping = asyncio.create_task(worker.stop())
        await said(worker, "host.draining")

        index.let_go.set()

        (end,) = await world.until_all(stream, BuildEnded, 1)
        assert await stopping == 0
    assert (end.how, end.attempt) == ("succeeded", 1)


async def test_a_second_signal_has_a_build_handed_back_at_once(
    world: World, patient: Settings, index: HoldingIndex
) -> None:
    deployed = await world.deploy(USES_GREETING, requirements="greeting==1.0\n")
    stream = f"build-{deployed.build_id}"
    async with tending(world), processes(_from(patient, index), "build") as (worker,):
        assert await asyncio.to_thread(index.reached.wait, 20)
        stopping = asyncio.create_task(worker.stop())
        await said(worker, "host.draining")
        start = time.monotonic()

        os.kill(worker.pid, signal.SIGTERM)

        (retried,) = await world.until_all(stream, BuildRetried, 1)
        assert await stopping == 0
        assert time.monotonic() - start < DRAIN_SECONDS / 2
    assert "stopped" in retried.detail


def _from(settings: Settings, index: HoldingIndex) -> Settings:
    return replace(settings, package_index=index.url)
