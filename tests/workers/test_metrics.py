"""What workers count, and where it is read."""

import asyncio
import socket
from contextlib import suppress

import httpx
from msgspec.structs import replace

from adapters.settings import Settings
from domain.runs import RunStarted
from tests.pages import Numbers, grown, here, numbers
from tests.workers.worlds import World, eventually, hosting, processes, tending

WAITING = {"agent.py": "import time\nprint('up', flush=True)\ntime.sleep(60)\n"}


async def test_a_host_says_what_it_holds(world: World) -> None:
    before = here()
    await world.deploy(WAITING)
    async with hosting(world):
        run = await world.request()
        await world.until(run, RunStarted)
        busy = here()
        await world.cancel(run)
        await world.ended(run)

        async def idle() -> bool:
            return here()["argosy_runs_hosted",] == before["argosy_runs_hosted",]

        await eventually(idle)

    found = grown(before, busy)
    assert (found["argosy_runs_hosted",], found["argosy_sandboxes_open",]) == (1, 1)
    assert busy["argosy_run_slots",] == world.services.settings.run_slots
    assert found["argosy_work_requested_total", "run"] == 1
    assert found["argosy_run_stage_seconds_count", "sandbox"] == 1
    done = grown(before, here())
    assert done["argosy_sandboxes_opened_total",] == 1
    assert done["argosy_runs_ended_total", "cancelled", "requested"] == 1
    assert ("argosy_sandboxes_open",) not in done


async def test_hints_that_redis_did_not_take_are_counted(quiet_world: World) -> None:
    before = here()
    await quiet_world.deploy()
    await quiet_world.request()

    async def lost() -> bool:
        return grown(before, here()).get(("argosy_jobs_told_total", "lost")) == 1

    async with tending(quiet_world):
        await eventually(lost)


async def test_a_worker_serves_its_page_where_it_is_told_to(settings: Settings) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with (
        processes(replace(settings, metrics_port=port), "dispatch"),
        httpx.AsyncClient() as client,
        asyncio.timeout(10),
    ):
        found: Numbers = {}
        while not found:
            with suppress(httpx.ConnectError):
                answer = await client.get(f"http://127.0.0.1:{port}/metrics")
                found = numbers(answer.text)

    assert found["process_resident_memory_bytes",] > 0
