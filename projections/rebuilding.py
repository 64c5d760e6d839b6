"""Filling a new table beside the one that is served, and switching it in once it has caught up."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import structlog
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import Conflict, Unavailable
from domain.ports import EventStore, Leases
from projections import generations
from projections.databases import to_the_end
from projections.feeding import Events, Feed, Poisoned, give, give_within, make_feed
from projections.generations import Generation, Superseded, served
from projections.projection import Projection

FILL_EVENTS = 4000  # in one transaction
LEASE_SECONDS = 15.0
RENEW_SECONDS = 5.0

log = structlog.stdlib.get_logger(__name__)


class Parts(Struct, frozen=True, kw_only=True):
    """What feeding works with. `owner`: this process, as its leases call it."""

    store: EventStore
    leases: Leases
    engine: AsyncEngine
    owner: str


class RebuildRunning(Conflict):
    """Another process is rebuilding the same read model. Wait for it; `status` shows how far."""

    type = "rebuild-running"
    title = "The read model is being rebuilt already"


class RebuildFailed(Conflict):
    """The projection cannot handle an event. What was served before still is."""

    type = "rebuild-failed"
    title = "The read model could not be rebuilt"


def is_wanted(projection: Projection, found: Sequence[Generation]) -> bool:
    """Whether nothing of this version is served, or a rebuild was begun that somebody may finish.

    What failed is left to a person; what a newer version of the code serves is left to that.
    """
    mine = [each for each in found if each.name == projection.name]
    if any(_goes_on(each, projection) for each in mine):
        return True
    settled = [each for each in mine if each.served or each.state == "failed"]
    return all(each.version < projection.version for each in settled)


async def rebuild(
    parts: Parts,
    projection: Projection,
    *,
    fresh: bool,
    on_progress: Callable[[int, int], None] = lambda _position, _head: None,
) -> Generation:
    """Build the next generation and switch it in; returns it.

    fresh: begin a new one; otherwise go on with one that was begun, or begin one if it `is_wanted`
        still: what was wanted when the caller looked may have been built meanwhile.
    on_progress: called after each transaction with the position reached and the log's head.
    Raises RebuildRunning, RebuildFailed, and Superseded if somebody else's rebuild won or ended.
    """
    lease = _Lease(parts, f"rebuild-{projection.name}")
    try:
        feed = await _start(parts, projection, lease, fresh=fresh)
        feed = await _fill(parts, feed, lease, on_progress)
        await _index(parts, feed)
        while True:
            feed = await _fill(parts, feed, lease, on_progress)
            switched = await _switch(parts, feed)
            if switched is not None:
                log.info("projection.switched", table=switched.table_name)
                return switched
    finally:
        with suppress(Unavailable):  # then it runs out by itself
            await parts.leases.resign(lease.role, parts.owner)


class _Lease:
    """One builder a projection; renewed now and then."""

    def __init__(self, parts: Parts, role: str) -> None:
        self.role = role
        self._parts = parts
        self._until = float("-inf")

    async def renew(self) -> None:
        if monotonic() < self._until:
            return
        if not await self._parts.leases.lead(self.role, self._parts.owner, LEASE_SECONDS):
            raise RebuildRunning("Another process is rebuilding it; `status` shows how far it is.")
        self._until = monotonic() + RENEW_SECONDS


@to_the_end
async def _start(parts: Parts, projection: Projection, lease: _Lease, *, fresh: bool) -> Feed:
    async with parts.engine.begin() as connection:
        found = await generations.lock(connection, projection.name)
        if not fresh and not is_wanted(projection, found):
            raise Superseded
        # Only now: a lease held to find nothing to do would turn away who asks meanwhile.
        await lease.renew()
        begun = next((each for each in found if _goes_on(each, projection)), None)
        if fresh or begun is None:
            begun = await generations.begin(connection, projection)
    return make_feed(parts.engine, projection, begun)


def _goes_on(generation: Generation, projection: Projection) -> bool:
    return generation.state == "building" and generation.version == projection.version


async def _fill(
    parts: Parts, feed: Feed, lease: _Lease, on_progress: Callable[[int, int], None]
) -> Feed:
    """Bring the feed to what was the log's head when the last page was read."""
    page = await _read(parts, feed.projection, feed.position)
    while True:
        await lease.renew()
        if page.last:
            return await _give(parts, feed, page, on_progress)
        # The next page is read while this one is written.
        reading = asyncio.create_task(_read(parts, feed.projection, page.reached))
        try:
            feed = await _give(parts, feed, page, on_progress)
            page = await reading
        finally:
            await _end(reading)


@to_the_end
async def _give(
    parts: Parts, feed: Feed, page: "_Page", on_progress: Callable[[int, int], None]
) -> Feed:
    [fed] = await give(parts.engine, [feed], page.events, page.reached)
    if isinstance(fed, Poisoned):
        await _fail(parts, fed)
        raise RebuildFailed(
            f"{fed.feed.projection.name} cannot handle the event at position {fed.position}: "
            f"{fed.error}",
            projection=fed.feed.projection.name,
            position=fed.position,
        )
    on_progress(fed.position, page.head)
    return fed


class _Page(Struct, frozen=True):
    """Events, and how far they reach. `last`: there were no more when the head was `head`."""

    events: Events
    reached: int
    head: int

    @property
    def last(self) -> bool:
        return self.reached >= self.head


async def _read(parts: Parts, projection: Projection, after: int) -> _Page:
    # The head comes first: what is visible is gapless, so a page that is not full has all up to it.
    head = max(after, await parts.store.head())
    types = sorted(projection.types)
    events = await parts.store.read_all(after=after, limit=FILL_EVENTS, types=types)
    if len(events) == FILL_EVENTS:
        return _Page(events, events[-1].position or 0, head)
    return _Page([each for each in events if (each.position or 0) <= head], head, head)


async def _end(task: asyncio.Task[Any]) -> None:
    """Wait for a task that is not wanted any more, whatever came of it."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@to_the_end
async def _fail(parts: Parts, poisoned: Poisoned) -> None:
    """Stop building. Where nothing was served before, what there is so far is served, stopped."""
    name = poisoned.feed.projection.name
    log.error("projection.failed", name=name, position=poisoned.position, error=poisoned.error)
    await _index(parts, poisoned.feed)
    async with parts.engine.begin() as connection:
        before = served(await generations.lock(connection, name), name)
        await generations.set_state(
            connection,
            poisoned.feed.generation,
            "failed" if before else "stopped",
            error=poisoned.error,
            error_position=poisoned.position,
        )


@to_the_end
async def _index(parts: Parts, feed: Feed) -> None:
    """Make the indexes, which slow filling down, one a transaction: others write in between."""
    for index in feed.writer.table.indexes:
        async with parts.engine.begin() as connection:
            await connection.run_sync(index.create, checkfirst=True)


@to_the_end
async def _switch(parts: Parts, feed: Feed) -> Generation | None:
    """Serve the new table from now on; None if it is too far behind the one that is served.

    The served one stands still meanwhile: whoever feeds it waits for this transaction.
    """
    async with parts.engine.begin() as connection:
        name = feed.projection.name
        before = served(await generations.lock(connection, name), name)
        if before is not None and before.position > feed.position:
            page = await _read(parts, feed.projection, feed.position)
            if page.reached < before.position:
                return None
            [feed] = await give_within(connection, [feed], page.events, page.reached)
        if before is not None:
            await generations.set_state(connection, before, "retired")
        await generations.set_state(connection, feed.generation, "active")
    return replace(feed.generation, state="active")
