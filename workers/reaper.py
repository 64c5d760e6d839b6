"""Looks every second for work that nobody does: hints that were lost, and owners that are gone.

And for what nobody asks for any more: `retention`.
"""

import asyncio
from collections.abc import Sequence
from functools import lru_cache

import structlog
from msgspec.structs import replace
from prometheus_client import Counter

from adapters.wiring import Services
from domain import builds, runs
from domain.errors import WrittenByNewer
from domain.ports import Held
from workers.dispatcher import job_of, tell
from workers.envelopes import new_owner
from workers.leading import lead, waited
from workers.losing import state_of, take_over
from workers.retention import Retention

ROLE = "reaper"
# How long work that was told of again may stay unclaimed before it is told of once more.
AGAIN_SECONDS = 5.0
BATCH = 100

UNCLAIMED = Counter("argosy_jobs_unclaimed_total", "Work that nobody had claimed in time.")

log = structlog.stdlib.get_logger(__name__)


async def run_reaper(services: Services, stop: asyncio.Event) -> None:
    """Sweep every `settings.sweep_seconds` whenever this process leads, until `stop`."""
    owner = new_owner(ROLE)

    async def body() -> None:
        retention = Retention(services)
        while not await waited(stop, services.settings.sweep_seconds):
            await sweep(services, owner)
            await retention.step()

    await lead(services.leases, ROLE, owner, stop, body)


async def sweep(services: Services, owner: str) -> None:
    """Deal with every lease that ran out. Raises Unavailable."""
    while True:
        expired = await services.leases.expired(BATCH)
        waiting: list[Held] = []
        passed = 0
        for held in expired:
            try:
                if await _still_waits(services, held, owner):
                    waiting.append(held)
            except WrittenByNewer as refusal:  # work for the reaper of that version
                passed += 1
                _say_once(held.stream, refusal.detail)
        await _tell_again(services, waiting)
        if len(expired) < BATCH or passed == len(expired):
            return


@lru_cache(1000)
def _say_once(stream: str, why: str) -> None:
    log.warning("work.too_new", stream=stream, why=why)


async def _still_waits(services: Services, held: Held, owner: str) -> bool:
    """Whether work waits for a worker; if not, retry or end it, or forget its lease."""
    state = await state_of(services, held.stream)
    match state:
        case runs.Waiting() | builds.Waiting() if not held.owner:
            return True
        case runs.Running() | builds.Running() if not held.owner:
            # Its owner let the lease run out, and it was offered anew; or it was claimed just now.
            current = await services.leases.held(held.stream)
            if current is None or current.owner:
                return False
            held = replace(held, owner=state.worker, attempt=state.attempt)
        case _:
            pass
    detail = f"The worker {held.owner} was lost."
    await take_over(services, held, said_by=owner, detail=detail)
    return False


async def _tell_again(services: Services, waiting: Sequence[Held]) -> None:
    """Tell the queue once more of work that nobody took."""
    if waiting:
        streams = [held.stream for held in waiting]
        log.info("work.unclaimed", streams=streams)
        UNCLAIMED.inc(len(streams))
        await services.leases.postpone(streams, AGAIN_SECONDS)
        await tell(services, [job_of(held) for held in waiting], again=True)
