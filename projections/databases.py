"""The read models' database: a second SQLite file, or PostgreSQL."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from pathlib import Path
from typing import Any

import aiosqlite
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from adapters.event_store.asyncpg_types import connect
from adapters.sockets import POSTGRES_KEEPALIVE

BUSY_MILLISECONDS = 10_000  # a writer waits for the other one's batch, never fails because of it
IDLE_TRANSACTION_MILLISECONDS = 60_000
LOCK_MILLISECONDS = 30_000
POOL_SIZE = 5
CONNECT_SECONDS = 5.0

# Read models can be rebuilt, so they need not survive a power cut: no fsync per commit.
_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -8192",
)

# Classes of SQLSTATE that speak of the database, not of what it was told to do: connection,
# resources, operator, lock and rollback.
_OUTAGES = frozenset({"08", "40", "53", "55", "57", "58"})


def open_database(url: str, *, writes: bool) -> AsyncEngine:
    """Return an engine; it connects when it is first used.

    writes: transactions take SQLite's one write lock when they begin, so that none of them can
    fail half-way; otherwise nothing can be written by mistake.
    """
    if not url.startswith("sqlite"):
        return _open_postgres(url, writes=writes)
    parsed = sa.make_url(url).set(drivername="sqlite+aiosqlite")
    size = 1 if writes else POOL_SIZE
    engine = create_async_engine(
        parsed,
        async_creator=partial(_connect_sqlite, Path(parsed.database or "").absolute()),
        pool_size=size,
        max_overflow=0 if writes else POOL_SIZE,
    )

    # Any: the driver's connection, behind SQLAlchemy's adapter.
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours, below
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        if not writes:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", begin)
    return engine


async def _connect_sqlite(path: Path) -> aiosqlite.Connection:
    """Connect as SQLAlchemy does; what cannot be connected leaves no thread behind.

    aiosqlite tells its thread to stop then, and does not wait: the loop might end first, and the
    thread would die of having nobody to tell.
    """
    connection = aiosqlite.connect(path)
    thread = connection._thread  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no other way
    thread.daemon = True
    try:
        return await connection
    except BaseException:
        await asyncio.to_thread(thread.join)
        raise


def _open_postgres(url: str, *, writes: bool) -> AsyncEngine:
    settings = {
        "application_name": "argosy-projections" if writes else "argosy-reads",
        "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_MILLISECONDS),
        "lock_timeout": str(LOCK_MILLISECONDS),
        "default_transaction_read_only": "off" if writes else "on",
        **POSTGRES_KEEPALIVE,
    }
    if writes:
        settings["synchronous_commit"] = "off"
    parsed = sa.make_url(url).set(drivername="postgresql+asyncpg")
    plain = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
    return create_async_engine(
        parsed,
        async_creator=partial(connect, plain, timeout=CONNECT_SECONDS, server_settings=settings),
        pool_size=POOL_SIZE,
        pool_pre_ping=True,
    )


def to_the_end[**P, T](
    work: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Let a short piece of work end before the cancellation of its caller is heeded.

    A connect or a statement that is cancelled half-way can leave aiosqlite's thread and its file
    behind, or keep the pool's only connection for ever.
    """

    @wraps(work)
    async def whole(*args: P.args, **kwargs: P.kwargs) -> T:
        task = asyncio.create_task(work(*args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    return whole


def is_outage(error: BaseException) -> bool:
    """Whether an error says that the database is away, full or busy: trying again may work."""
    match error:
        case OperationalError() | InterfaceError() | OSError():
            return True
        case DBAPIError(connection_invalidated=True):
            return True
        case _:
            # A driver's error, as SQLAlchemy wraps it or as COPY raises it.
            state = getattr(getattr(error, "orig", error), "sqlstate", None)
            return isinstance(state, str) and state[:2] in _OUTAGES
