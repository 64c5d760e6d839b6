"""The read models as the API reads them: pages of what is served now, and waiting for a write."""

import asyncio
import base64
import binascii
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.errors import Invalid, Unavailable
from projections import generations
from projections.databases import is_outage, open_database, to_the_end
from projections.generations import Generation
from projections.projection import Projection, default_of

MOST_ITEMS = 200
WAIT_SECONDS = 1.0

# How long a waiting list sleeps between looks, at first and at most, and how old what it sees of
# the checkpoints may be: lists that wait together share a look.
FIRST_POLL_SECONDS = 0.004
POLL_SECONDS = 0.032
FRESH_SECONDS = 0.002

_ID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
_CURSOR = re.compile(r"([a-z]+):([1-9][0-9]{0,17})")


class Page[R](Struct, frozen=True, kw_only=True):
    """One page of a list, newest first.

    next_cursor: where the next page begins, None after the last row.
    position: the log's position up to which the list has everything.
    """

    items: list[R]
    next_cursor: str | None
    position: int


class ReadModels:
    """Reads only. One of it serves a whole process; lists never see a table half-filled."""

    def __init__(self, engine: AsyncEngine, hurry: Callable[[], None]) -> None:
        self._engine = engine
        self._hurry = hurry
        self._seen: Mapping[str, Generation] = {}
        self._seen_at = float("-inf")
        self._looking = asyncio.Lock()
        self._columns: dict[str, frozenset[str]] = {}
        self._kept = False

    async def close(self) -> None:
        """Let go of the database."""
        await self._engine.dispose()

    async def positions(self) -> Mapping[str, Generation]:
        """Return the served generation of every projection, by name; none before the first build.

        Raises Unavailable if the database cannot be read.
        """
        await self._look(0.0)
        return self._seen

    async def wait_for(self, name: str, position: int, seconds: float = WAIT_SECONDS) -> int:
        """Wait until the read model has everything up to `position`; returns how far it is.

        Gives up after `seconds`, and at once if the projection has stopped.
        """
        deadline = time.monotonic() + seconds
        pause = FIRST_POLL_SECONDS
        while True:
            generation = self._seen.get(name)
            if generation and generation.position >= position:
                return generation.position
            await self._look(FRESH_SECONDS)
            generation = self._seen.get(name)
            reached = generation.position if generation else 0
            left = deadline - time.monotonic()
            stopped = generation is not None and generation.state == "stopped"
            if reached >= position or stopped or left <= 0:
                return reached
            self._hurry()
            await asyncio.sleep(min(left, pause))
            pause = min(pause * 2, POLL_SECONDS)

    async def page[R](
        self,
        projection: Projection,
        narrow: Callable[[sa.FromClause], Iterable[sa.ColumnElement[bool]]],
        row: Callable[[dict[str, Any]], R],
        *,
        cursor: str | None,
        limit: int,
    ) -> Page[R]:
        """Return the rows that `narrow` leaves, newest first, each made by `row`.

        Raises Invalid for a limit outside 1 to 200 and for a cursor that this list did not give
        out; Unavailable before the read model is first built.
        """
        if not 1 <= limit <= MOST_ITEMS:
            raise Invalid(f"limit must be 1 to {MOST_ITEMS}; got {limit}.", field="limit")
        before = _position(projection.name, cursor) if cursor is not None else None

        async def read(connection: AsyncConnection) -> Page[R]:
            found = await self._load(connection, projection.name)
            served = generations.served(found, projection.name)
            if served is None:
                raise Unavailable(f"The list of {projection.name} is being built.")
            source = await self._source(connection, projection, served)
            query = sa.select(source).where(*narrow(source))
            if before is not None:
                query = query.where(source.c.position < before)
            query = query.order_by(source.c.position.desc()).limit(limit + 1)
            rows = [dict(each) for each in (await connection.execute(query)).mappings()]
            positions = [each.pop("position") for each in rows[:limit]]
            return Page(
                items=[row(each) for each in rows[:limit]],
                next_cursor=_cursor(projection.name, positions) if len(rows) > limit else None,
                position=served.position,
            )

        return await self._read(read)

    async def _look(self, seconds: float) -> None:
        """See the checkpoints as they were at most `seconds` ago; many callers share one look."""
        called = time.monotonic()
        async with self._looking:
            if self._seen_at >= called - seconds:
                return
            looked = time.monotonic()
            found = await self._read(self._load)
            self._seen = {each.name: each for each in found if each.served}
            self._seen_at = looked

    async def _load(self, connection: AsyncConnection, name: str | None = None) -> list[Generation]:
        if not self._kept:
            self._kept = await connection.run_sync(generations.bookkeeping_exists)
        return await generations.load(connection, name) if self._kept else []

    async def _read[T](self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in one read transaction. Raises Unavailable if the database is away."""

        @to_the_end
        async def read() -> T:
            async with self._engine.connect() as connection:
                return await work(connection)

        try:
            return await read()
        except (DBAPIError, OSError) as error:
            if is_outage(error):
                raise Unavailable("The read models cannot be read right now.") from error
            raise

    async def _source(
        self, connection: AsyncConnection, projection: Projection, served: Generation
    ) -> sa.FromClause:
        """Return the served table as this code knows it.

        While the generation of another version of the code is served, columns that its table does
        not have read as their default.
        """
        table = projection.table(served.table_name)
        if served.version == projection.version:
            return table
        if served.table_name not in self._columns:
            self._columns[served.table_name] = await connection.run_sync(
                lambda sync: frozenset(
                    column["name"] for column in sa.inspect(sync).get_columns(served.table_name)
                )
            )
        has = self._columns[served.table_name]
        return sa.select(
            *(
                column
                if column.name in has
                else sa.literal(default_of(column), column.type).label(column.name)
                for column in table.columns
            )
        ).subquery()


async def open_reads(url: str, hurry: Callable[[], None] = lambda: None) -> ReadModels:
    """Return the read models of a database, which may be empty still.

    hurry: called whenever a list finds that it has to wait for them.
    """
    return ReadModels(open_database(url, writes=False), hurry)


def is_id(text: str) -> bool:
    """Whether a text looks like an id rather than a name (it may be both)."""
    return _ID.match(text) is not None


def _cursor(name: str, positions: Sequence[int]) -> str:
    return base64.urlsafe_b64encode(f"{name}:{positions[-1]}".encode()).decode().rstrip("=")


def _position(name: str, cursor: str) -> int:
    """Return the position that a cursor of this list stands for."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    found = _CURSOR.fullmatch(text)
    if not found or found.group(1) != name:
        raise Invalid("This is not a cursor of this list; take `next_cursor`.", field="cursor")
    return int(found.group(2))
