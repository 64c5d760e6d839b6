"""Reading a log's database as of one moment, for as long as it takes, while others append.

SQLite's log of changes cannot be put back into the file meanwhile, and grows; PostgreSQL keeps old
rows. Neither makes a writer wait.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from adapters.event_store.asyncpg_types import LOST, PostgresError, connect
from adapters.event_store.migrate import SQLITE, sqlite_path
from adapters.event_store.scripts import Rows, for_sqlite
from adapters.event_store.sqlite import connect as connect_sqlite
from domain.errors import Unavailable

# Any: the values of a statement.
type Fetch = Callable[[str, Sequence[Any]], Awaitable[Rows]]


@asynccontextmanager
async def open_snapshot(url: str) -> AsyncGenerator[Fetch]:
    """Yield what answers statements, all as of the moment of this. Raises Unavailable."""
    opened = _sqlite(url) if url.startswith(SQLITE) else _postgres(url)
    try:
        async with opened as fetch:
            yield fetch
    except (PostgresError, sqlite3.Error, *LOST) as error:
        raise Unavailable(f"The log cannot be read: {error}") from error


@asynccontextmanager
async def _sqlite(url: str) -> AsyncGenerator[Fetch]:
    path = sqlite_path(url)
    if not path.exists():
        raise Unavailable(f"There is no log at {path}.")
    connection = await asyncio.to_thread(connect_sqlite, path)

    def run(text: str, values: Sequence[Any]) -> Rows:
        return connection.execute(for_sqlite(text), values).fetchall()

    async def fetch(text: str, values: Sequence[Any]) -> Rows:
        return await asyncio.to_thread(run, text, values)

    try:
        run("PRAGMA query_only=ON", ())
        run("BEGIN", ())
        yield fetch  # the first statement makes the moment
    finally:
        connection.close()


@asynccontextmanager
async def _postgres(url: str) -> AsyncGenerator[Fetch]:
    unhurried = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
    connection = await connect(url, timeout=30, server_settings=unhurried)

    async def fetch(text: str, values: Sequence[Any]) -> Rows:
        return await connection.fetch(text, *values)

    try:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield fetch
    finally:
        await connection.close()
