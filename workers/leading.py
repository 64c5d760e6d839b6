"""Loops of which one may run at a time, however many processes offer to: dispatcher, reaper."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from domain.errors import Unavailable
from domain.ports import Leases

# How long the loop stands still when its leader dies without a word.
LEADER_SECONDS = 4.0

log = structlog.stdlib.get_logger(__name__)


async def lead(
    leases: Leases,
    role: str,
    owner: str,
    stop: asyncio.Event,
    body: Callable[[], Awaitable[None]],
) -> None:
    """Run `body` whenever this process leads `role`, until `stop`.

    `body` is cancelled when the leadership is lost, which is at the latest when the lease has run
    out without a renewal. What it raises ends this too: Unavailable only that turn.
    """
    while not stop.is_set():
        if await _won(leases, role, owner):
            log.info("role.taken", role=role)
            await _reign(leases, role, owner, stop, body)
            log.info("role.left", role=role)
        await waited(stop, LEADER_SECONDS / 3)


async def waited(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for `stop`, at most `seconds`; whether it came."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()


async def _won(leases: Leases, role: str, owner: str) -> bool:
    try:
        async with asyncio.timeout(LEADER_SECONDS / 2):
            return await leases.lead(role, owner, LEADER_SECONDS)
    except (Unavailable, TimeoutError):
        return False


async def _reign(
    leases: Leases,
    role: str,
    owner: str,
    stop: asyncio.Event,
    body: Callable[[], Awaitable[None]],
) -> None:
    until = time.monotonic() + LEADER_SECONDS
    task = asyncio.ensure_future(body())
    stopped = asyncio.ensure_future(stop.wait())
    try:
        while time.monotonic() < until and not stop.is_set():
            await asyncio.wait(
                {task, stopped},
                timeout=LEADER_SECONDS / 3,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if task.done():
                break
            asked = time.monotonic()
            if await _won(leases, role, owner):
                until = asked + LEADER_SECONDS
    finally:
        stopped.cancel()
        task.cancel()
        outcome = await asyncio.gather(task, return_exceptions=True)
    match outcome[0]:
        case Unavailable() as error:
            log.warning("role.interrupted", role=role, error=error.detail)
        case asyncio.CancelledError() | None:
            pass
        case BaseException() as error:
            raise error
    with suppress(Unavailable):
        await leases.resign(role, owner)
