"""From facts to work: follows the log, records what it asks for, and tells the queue.

Whoever appends tells the queue of runs, too, and sooner (`adapters/announcing.py`): that is a hint,
and this makes sure. What it has recorded and could not tell the queue (Redis away, a crash in
between) the reaper finds unclaimed.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from prometheus_client import Counter, Histogram

from adapters.wiring import Services
from domain.builds import BuildClaimed, BuildEnded, BuildPlanned, BuildRequested
from domain.decider import Recorded
from domain.errors import Unavailable
from domain.ids import split_stream
from domain.jobs import Job, Release, jobs_for, queue_for
from domain.ports import Held
from domain.runs import RunClaimed
from workers.envelopes import new_owner
from workers.leading import lead

ROLE = "dispatcher"
BATCH = 500
# What a fact asks for was told by whoever appended it, and is mostly claimed by then: it needs no
# offer.
GATHER_SECONDS = 0.02
# Progress without work to offer is only saved this often: reading it again is harmless.
SAVE_EVERY = 500

TOLD = Counter(
    "argosy_jobs_told_total", "Jobs that needed a hint beside their append's.", ["outcome"]
)
# A worker may die between a build's end and its counting, so whoever hears of every end counts it.
BUILT = Histogram(
    "argosy_build_seconds",
    "Time from a build's request to its end.",
    ["mode", "how"],
    buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0),
)

log = structlog.stdlib.get_logger(__name__)


async def run_dispatcher(services: Services, stop: asyncio.Event) -> None:
    """Dispatch whenever this process leads, until `stop`."""
    owner = new_owner(ROLE)

    async def body() -> None:
        await dispatch(services)

    await lead(services.leases, ROLE, owner, stop, body)


async def dispatch(services: Services) -> None:
    """Follow the log for ever, from where the last dispatcher was. Raises Unavailable."""
    saved = await services.leases.progress(ROLE)
    async for batch in services.store.follow(after=saved, batch=BATCH, gather=GATHER_SECONDS):
        saved = await _take(services, batch, saved)


def job_of(held: Held) -> Job:
    """Return the hint for a row of recorded work: its stream's next attempt."""
    return Job(queue_for(held.stream), f"{held.stream}-{held.attempt + 1}", held.stream)


async def _take(services: Services, batch: Sequence[Recorded[Any]], saved: int) -> int:
    """Record and tell what one batch asks for; returns the position that is saved now."""
    waiting: dict[str, Job] = {}
    position = saved
    for recorded in batch:
        for work in jobs_for(recorded):
            match work:
                case Job(stream=stream):
                    waiting[stream] = work
                case Release(stream=stream):
                    await _offer(services, waiting.values(), position)
                    waiting = {}
                    await _release(services, stream, _position(recorded))
                    saved = _position(recorded)
        match recorded.event:
            case RunClaimed() | BuildClaimed():
                waiting.pop(recorded.stream, None)
            case BuildEnded():
                await _measure(services, recorded)
            case _:
                pass
        position = _position(recorded)
    if waiting or position - saved >= SAVE_EVERY:
        await _offer(services, waiting.values(), position)
        return position
    return saved


async def _measure(services: Services, ended: Recorded[Any]) -> None:
    head = await services.store.load(ended.stream)
    mode = ""
    for recorded in head.events:
        match recorded.event:
            case BuildRequested(mode=wanted) | BuildPlanned(mode=wanted):
                mode = wanted
            case _:
                pass
    seconds = (ended.at - head.events[0].at).total_seconds()
    BUILT.labels(mode, ended.event.how).observe(seconds)


async def _offer(services: Services, jobs: Iterable[Job], position: int) -> None:
    ready = await services.leases.offer(list(jobs), follower=ROLE, position=position)
    await tell(services, ready)


async def _release(services: Services, stream: str, position: int) -> None:
    released = await services.leases.release(stream, follower=ROLE, position=position)
    await tell(services, [job_of(held) for held in released])


async def tell(services: Services, jobs: Sequence[Job], *, again: bool = False) -> None:
    """Tell the queue of recorded work. If it cannot be told now, the reaper will.

    again: it was told before, and nobody took the work.
    """
    if not jobs:
        return
    try:
        await services.queue.enqueue(jobs, again=again)
    except Unavailable as error:
        log.debug("queue.not_told", jobs=len(jobs), error=error.detail)
        TOLD.labels("lost").inc(len(jobs))
        return
    TOLD.labels("queued").inc(len(jobs))
    for job in jobs:
        category, id = split_stream(job.stream)
        log.info("work.queued", queue=job.queue, job=job.id, **{category: id})


def _position(recorded: Recorded[Any]) -> int:
    assert recorded.position is not None  # only folding events are followed
    return recorded.position
