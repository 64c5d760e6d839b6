"""Looks every second for work that nobody does: hints that were lost, and owners that are gone."""

import asyncio
from collections.abc import Sequence

import structlog

from adapters.wiring import Services
from domain import builds, runs
from domain.ports import Held
from workers.dispatcher import job_of, tell
from workers.envelopes import new_owner
from workers.leading import lead, waited
from workers.losing import state_of, take_over

ROLE = "reaper"
# How long work that was told of again may stay unclaimed before it is told of once more.
AGAIN_SECONDS = 5.0
BATCH = 100

log = structlog.stdlib.get_logger(__name__)


async def run_reaper(services: Services, stop: asyncio.Event) -> None:
    """Sweep every `settings.sweep_seconds` whenever this process leads, until `stop`."""
    owner = new_owner(ROLE)

    async def body() -> None:
        while not await waited(stop, services.settings.sweep_seconds):
            await sweep(services, owner)

    await lead(services.leases, ROLE, owner, stop, body)


async def sweep(services: Services, owner: str) -> None:
    """Deal with every lease that ran out. Raises Unavailable."""
    while True:
        expired = await services.leases.expired(BATCH)
        unclaimed = [held for held in expired if not held.owner]
        await _tell_again(services, unclaimed)
        for held in expired:
            if held.owner:
                detail = f"The worker {held.owner} was lost."
                await take_over(services, held, said_by=owner, detail=detail)
        if len(expired) < BATCH:
            return


async def _tell_again(services: Services, unclaimed: Sequence[Held]) -> None:
    """Tell the queue once more of what still waits, and forget what does not."""
    waiting: list[Held] = []
    for held in unclaimed:
        if await _waits(services, held):
            waiting.append(held)
        else:
            await services.leases.drop(held.stream, held.attempt)
    if waiting:
        log.info("work.unclaimed", streams=[held.stream for held in waiting])
        await services.leases.postpone([held.stream for held in waiting], AGAIN_SECONDS)
        await tell(services, [job_of(held) for held in waiting])


async def _waits(services: Services, held: Held) -> bool:
    match await state_of(services, held.stream):
        case runs.Waiting() | builds.Waiting():
            return True
        case _:
            return False
