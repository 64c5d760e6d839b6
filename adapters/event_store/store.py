"""The log that everything else works with: appends, reads, followers and leases of one database."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from prometheus_client import Counter, Histogram

from adapters.event_store import read
from adapters.event_store.append import Head, folds, make_item
from adapters.event_store.backend import Database
from adapters.event_store.migrate import SQLITE, migrate, sqlite_path
from adapters.event_store.postgres import open_postgres
from adapters.event_store.sqlite import SqliteDatabase
from adapters.event_store.tail import Page, Tails
from adapters.leases import SqlLeases
from adapters.metrics import SECONDS
from adapters.tracing import past, records
from domain.decider import Recorded
from domain.errors import ArgosyError, IdempotencyMismatch
from domain.ports import Answer, Appended, Change, Leases, Meta, Reservation, StreamHead

APPENDED = Histogram(
    "argosy_append_seconds", "Time from an append to its durable commit.", buckets=SECONDS
)
REFUSED = Counter("argosy_appends_refused_total", "Appends that were not done.", ["why"])


class Store:
    """An `EventStore` on either database; made by `open_store`, used on the loop that made it.

    database: for what is kept in it beside the log.
    """

    leases: Leases

    def __init__(self, database: Database, tails: Tails) -> None:
        self._loop = asyncio.get_running_loop()
        self._tails = tails
        self.database = database
        self.leases = SqlLeases(database)

    def on_commit(self, callback: Callable[[Appended], None]) -> None:
        """Have every append of this process told to `callback`, on the loop, after its commit.

        In the order of the log. What the callback raises goes to the loop's exception handler.
        """
        self._tails.on_commit(callback)

    def wake(self, position: int) -> None:
        """Hint that the log has grown to `position`, which followers then read."""
        self._tails.wake(position)

    def hurry(self) -> None:
        """Let followers that gather, and heed it, go on at once."""
        self._tails.hurry()

    async def append(
        self,
        changes: Sequence[Change],
        meta: Meta,
        *,
        reservations: Sequence[Reservation] = (),
        answer: Answer | None = None,
    ) -> Appended:
        """Do all of it or nothing, with whatever else waits; see `EventStore`."""
        answered: asyncio.Future[Appended] = self._loop.create_future()
        began = time.perf_counter()
        item = make_item(changes, meta, reservations, answer, answered)
        refused = ""
        try:
            self.database.submit(item)
            appended = await answered
        except ArgosyError as error:
            refused = error.type
            REFUSED.labels(refused).inc()
            raise
        else:
            APPENDED.observe(time.perf_counter() - began)
            return appended
        finally:
            if records() and folds(item):  # transcripts would be most of a trace
                past("append", time.perf_counter() - began, error=refused)

    async def load(self, stream: str) -> StreamHead:
        """Return a stream's folding events; see `EventStore`."""
        head = read.stream_head(await self.database.fetch(read.LOAD, (stream,)))
        seen = Head(head.version, head.folding_version, head.attempt)
        self.database.remember(stream, seen)
        return head

    async def read(
        self, stream: str, *, after: int = 0, limit: int = 1000, backwards: bool = False
    ) -> list[Recorded[Any]]:
        """Return one stream by version; backwards, `after` 0 means from its end."""
        text = read.READ_BACKWARDS if backwards else read.READ_FORWARDS
        rows = await self.database.fetch(text, (stream, after, limit))
        return read.recorded(rows)

    async def read_all(
        self, *, after: int, limit: int = 1000, types: Sequence[str] | None = None
    ) -> list[Recorded[Any]]:
        """Return folding events by position; see `EventStore`."""
        page, _, _ = await self._page(after, limit, types)
        return page

    async def head(self) -> int:
        """Return the log's last position, 0 when it is empty."""
        return (await self.database.fetch(read.HEAD, ()))[0][0]

    async def resolve(self, scope: str, kind: str, name: str) -> str | None:
        """Return the id that a name is reserved for."""
        rows = await self.database.fetch(read.RESOLVE, (scope, kind, name))
        return rows[0][0] if rows else None

    async def names(self, scope: str, kind: str) -> Mapping[str, str]:
        """Return all names of a kind in a scope, with their ids, by name."""
        rows = await self.database.fetch(read.NAMES, (scope, kind))
        return {row[0]: row[1] for row in rows}

    async def answered(self, scope: str, key: str, body_hash: str) -> bytes | None:
        """Return the stored answer, None if the key is new. Raises IdempotencyMismatch."""
        rows = await self.database.fetch(read.ANSWERED, (scope, key))
        if not rows:
            return None
        stored_hash, answer = rows[0]
        if stored_hash != body_hash:
            raise IdempotencyMismatch(f"The key {key} was used before, with another body.", key=key)
        return answer

    async def census(self) -> list[tuple[str, str, int]]:
        """Return how much work there is that has not ended: category, state, count.

        States: `parked` until a build ends, `unclaimed`, `held`, or `expired` by its worker.
        """
        rows = await self.database.fetch(read.CENSUS, ())
        return [(row[0], row[1], row[2]) for row in rows]

    async def follow(
        self,
        *,
        after: int,
        batch: int = 1000,
        types: Sequence[str] | None = None,
        gather: float = 0.0,
        hurried: bool = False,
    ) -> AsyncGenerator[list[Recorded[Any]]]:
        """Yield folding events from `after` on, for ever; see `EventStore`."""

        async def page(position: int) -> Page:
            return await self._page(position, batch, types)

        async with aclosing(self._tails.follow(page, after, gather, hurried=hurried)) as pages:
            async for recorded in pages:
                yield recorded

    async def close(self) -> None:
        """Finish what was accepted, then let go of the database."""
        await self.database.close()

    async def _page(self, after: int, limit: int, types: Sequence[str] | None) -> Page:
        if types is None:
            # Followers mostly find an event or two.
            rows = await self.database.fetch(read.READ_NEXT, (after,))
            if len(rows) >= min(limit, read.NEXT_EVENTS):
                rows = await self.database.fetch(read.READ_ALL, (after, limit))
            page = read.recorded(rows)
            return page, rows[-1][2] if rows else after, len(rows) == limit
        # The head comes first: all that it covers is visible, so what is not found is not there.
        head = await self.head()
        if head <= after or not types:
            return [], max(head, after), False
        values = (after, head, limit, *types)
        rows = await self.database.fetch(read.read_types(types, 3), values)
        more = len(rows) == limit
        reached = rows[-1][2] if more else head
        return read.recorded(rows), reached, more


async def open_store(url: str) -> Store:
    """Open the log at `sqlite:///<file>` or `postgresql://…`, bringing its schema up to date.

    Raises Unavailable when the database cannot be reached.
    """
    await migrate(url)
    tails = Tails()
    if url.startswith(SQLITE):
        return Store(SqliteDatabase(sqlite_path(url), tails.committed), tails)
    return Store(await open_postgres(url, tails.committed), tails)
