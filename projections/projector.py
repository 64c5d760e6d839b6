"""The projector: one loop over the log that feeds every read model, one leader at a time."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import structlog

from domain.errors import Unavailable
from projections import generations
from projections.databases import is_outage, to_the_end
from projections.feeding import Feed, Poisoned, give, make_feed
from projections.generations import Generation, Superseded, served
from projections.projection import Projection
from projections.rebuilding import Parts, RebuildFailed, RebuildRunning, is_wanted, rebuild
from projections.registry import PROJECTIONS

ROLE = "projector"
LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0
TEND_SECONDS = 1.0  # how soon a retry, a switch or an abandoned rebuild is noticed
BATCH_EVENTS = 1000  # in one transaction
GATHER_SECONDS = 0.02  # unless a list waits: a transaction takes as long for one event as for ten
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

log = structlog.stdlib.get_logger(__name__)


class Projector:
    """Feeds what is served, and builds what is missing. Several may run; one of them leads."""

    def __init__(
        self,
        parts: Parts,
        *,
        projections: Sequence[Projection] = PROJECTIONS,
        on_progress: Callable[[int], None] = lambda _position: None,
    ) -> None:
        """on_progress: told the position reached after each commit, for whoever waits for it."""
        self._parts = parts
        self._projections = projections
        self._on_progress = on_progress
        self._prepared = False
        self._renew_at = float("-inf")
        self._fed: frozenset[tuple[str, int, int]] = frozenset()
        self._feeding: asyncio.Task[None] | None = None
        self._builds: dict[str, asyncio.Task[Generation]] = {}
        self._pause = FIRST_PAUSE_SECONDS

    async def run(self) -> None:
        """Run until cancelled. A database that is away is waited for; a bug is raised."""
        try:
            while True:
                try:
                    await self._tend()
                except Exception as error:
                    if not (is_outage(error) or isinstance(error, Unavailable)):
                        raise
                    await self._rest(error)
                else:
                    self._pause = FIRST_PAUSE_SECONDS
                    await self._wait()
        finally:
            await self._stop(*self._tasks)
            with suppress(Unavailable):  # then it runs out by itself
                await self._parts.leases.resign(ROLE, self._parts.owner)

    @property
    def _tasks(self) -> list[asyncio.Task[Any]]:
        return [*self._builds.values(), *([self._feeding] if self._feeding else [])]

    @to_the_end
    async def _tend(self) -> None:
        """See what there is to feed and to build, and have it done."""
        if not self._prepared:
            await generations.create_bookkeeping(self._parts.engine)
            self._prepared = True
        self._collect()
        leads = await self._lead()
        async with self._parts.engine.begin() as connection:
            found = await generations.load(connection)
            if leads and any(each.state == "retired" for each in found):
                await generations.drop_retired(connection)
        for projection in self._projections:
            if projection.name not in self._builds and is_wanted(projection, found):
                work = rebuild(self._parts, projection, fresh=False)
                self._builds[projection.name] = asyncio.create_task(work)
        fed = self._to_feed(found) if leads else []
        keys = frozenset(generation.key for _, generation in fed)
        if self._feeding is not None and self._fed != keys:
            await self._stop(self._feeding)
            self._feeding = None
        if self._feeding is None and fed:
            self._fed = keys
            feeds = [make_feed(self._parts.engine, *each) for each in fed]
            self._feeding = asyncio.create_task(self._feed(feeds))

    def _collect(self) -> None:
        """Forget tasks that are done; raise what they died of, unless it was to be expected."""
        for name, build in list(self._builds.items()):
            if build.done():
                del self._builds[name]
                _raise_unless(build, RebuildRunning, RebuildFailed, Superseded)
        if self._feeding is not None and self._feeding.done():
            feeding, self._feeding = self._feeding, None
            _raise_unless(feeding, Superseded)

    async def _lead(self) -> bool:
        if monotonic() < self._renew_at:
            return True
        leads = await self._parts.leases.lead(ROLE, self._parts.owner, LEASE_SECONDS)
        self._renew_at = monotonic() + RENEW_SECONDS if leads else float("-inf")
        return leads

    def _to_feed(self, found: Sequence[Generation]) -> list[tuple[Projection, Generation]]:
        """Return what this code can feed: another version's table belongs to another code."""
        return [
            (projection, generation)
            for projection in self._projections
            if (generation := served(found, projection.name))
            and generation.state == "active"
            and generation.version == projection.version
        ]

    async def _feed(self, feeds: Sequence[Feed]) -> None:
        """Follow the log from where the last of the feeds is."""
        after = min(feed.position for feed in feeds)
        log.debug("projector.follows", after=after, tables=[feed.table_name for feed in feeds])
        self._on_progress(after)
        follow = self._parts.store.follow
        batches = follow(after=after, batch=BATCH_EVENTS, gather=GATHER_SECONDS, hurried=True)
        async for batch in batches:
            reached = batch[-1].position
            assert reached is not None
            fed = await give(self._parts.engine, feeds, batch, reached)
            feeds = [each for each in fed if isinstance(each, Feed)]
            for each in fed:
                if isinstance(each, Poisoned):
                    await self._stop_feed(each)
            self._on_progress(reached)
            if not feeds:
                return

    @to_the_end
    async def _stop_feed(self, poisoned: Poisoned) -> None:
        """Stop one projection where everybody can see it; the others go on."""
        feed, position, error = poisoned.feed, poisoned.position, poisoned.error
        log.error("projection.stopped", table=feed.table_name, position=position, error=error)
        async with self._parts.engine.begin() as connection:
            await generations.set_state(
                connection, feed.generation, "stopped", error=error, error_position=position
            )
        self._fed -= {feed.generation.key}

    async def _wait(self) -> None:
        """Until it is time to look again, or a task is done."""
        timer = asyncio.create_task(asyncio.sleep(TEND_SECONDS))
        try:
            await asyncio.wait([timer, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()

    async def _rest(self, error: Exception) -> None:
        log.warning("projector.database_away", error=str(error), seconds=self._pause)
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)

    async def _stop(self, *tasks: asyncio.Task[Any]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _raise_unless(task: asyncio.Task[Any], *expected: type[Exception]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, expected):
        raise error
