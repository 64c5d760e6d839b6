"""The log in PostgreSQL: one connection that appends, a few that read and keep leases."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from adapters.event_store.append import Head, Item
from adapters.event_store.asyncpg_types import (
    LOST,
    Connection,
    Pool,
    PostgresError,
    connect,
    create_pool,
)
from adapters.event_store.backend import OnCommit
from adapters.event_store.postgres_appender import Appender, is_outage
from adapters.event_store.scripts import Rows, Script, for_postgres
from adapters.sockets import POSTGRES_KEEPALIVE
from domain.errors import Unavailable

READERS = 4
CONNECT_SECONDS = 5.0
SECONDS = 30.0  # for any one statement, so that a server that hangs is noticed

_SETTINGS = {
    "application_name": "argosy",
    "lock_timeout": "10s",
    # A process that was stopped or cut off with a transaction open must not hold up all others.
    "idle_in_transaction_session_timeout": "5s",
    **POSTGRES_KEEPALIVE,
    "jit": "off",
    # What is answered is on the disk, whatever the server's default. What followers save and offer,
    # too: they go on from what they remember, and would never look again at what a crash took back.
    "synchronous_commit": "on",
}
_APPENDER_SETTINGS = {
    **_SETTINGS,
    # Look streams up one by one, in the order in which they are given: see `write`.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    # Planning these statements takes longer than running them.
    "plan_cache_mode": "force_generic_plan",
}


class PostgresDatabase:
    """One database, shared with other machines. Made by `open_postgres`."""

    def __init__(self, pool: Pool, appender: Appender) -> None:
        self._pool = pool
        self._appender = appender

    def submit(self, item: Item) -> None:
        """Take an append into the next batch."""
        self._appender.submit(item)

    def remember(self, stream: str, head: Head) -> None:
        """Note where a stream was seen to stand, so that appending to it need not ask."""
        self._appender.remember(stream, head)

    async def transact[T](self, script: Script[T]) -> T:
        """Run a script in a transaction of its own."""
        try:
            async with self._lend() as connection:
                return await _transact(connection, script)
        except (PostgresError, *LOST) as error:
            raise _refusal(error) from error

    async def fetch(self, text: str, values: Sequence[Any]) -> Rows:
        """Return the rows of one reading statement, as of one moment."""
        try:
            async with self._lend() as connection:
                return await connection.fetch(for_postgres(text), *values)
        except (PostgresError, *LOST) as error:
            raise _refusal(error) from error

    async def close(self) -> None:
        """Commit what was accepted, then disconnect."""
        await self._appender.close()
        await self._pool.close()

    @asynccontextmanager
    async def _lend(self) -> AsyncGenerator[Connection]:
        """Lend a connection; whoever is cancelled gets away at once.

        The driver would first ask the server to stop, and wait for that: on a network that is cut
        a heartbeat would then never come to the point where it gives its leases up.
        """
        connection = await self._pool.acquire()
        try:
            yield connection
        except (asyncio.CancelledError, OSError):
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection)


async def open_postgres(url: str, on_commit: OnCommit) -> PostgresDatabase:
    """Connect. Raises Unavailable."""

    async def connect_appender() -> Connection:
        return await connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=SECONDS,
            server_settings=_APPENDER_SETTINGS,
        )

    try:
        pool = await create_pool(
            url,
            min_size=1,
            max_size=READERS,
            timeout=CONNECT_SECONDS,
            command_timeout=SECONDS,
            server_settings=_SETTINGS,
            reset=_leave,
        )
    except (PostgresError, *LOST) as error:
        raise _refusal(error) from error
    return PostgresDatabase(pool, Appender(connect_appender, on_commit))


async def _leave(connection: Connection) -> None:
    """Do nothing: nobody changes a session here, and an open transaction is ended before this.

    What the driver asks of the server after each loan takes as long as most of our statements.
    """


async def _transact[T](connection: Connection, script: Script[T]) -> T:
    """Run a script in a transaction; what is cancelled ends with its connection."""
    await connection.execute("BEGIN")
    try:
        result = await _run(connection, script)
    except Exception as error:
        if not isinstance(error, LOST):
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")
    return result


async def _run[T](connection: Connection, script: Script[T]) -> T:
    rows: Rows | None = None
    while True:
        try:
            # A generator is started by sending it nothing.
            text, values = script.send(rows) if rows is not None else next(script)
        except StopIteration as done:
            return done.value
        rows = await connection.fetch(for_postgres(text), *values)


def _refusal(error: Exception) -> Exception:
    return Unavailable(f"The log cannot be reached: {error}") if is_outage(error) else error
