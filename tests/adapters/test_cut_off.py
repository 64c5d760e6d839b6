"""What a process notices when the database vanishes: its connections stay open, and say nothing."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.connections import DOWN, connect, connect_blocking
from adapters.connections import Line as Redis
from adapters.event_store.asyncpg_types import connect as connect_postgres
from adapters.event_store.postgres import PostgresDatabase, open_postgres
from adapters.event_store.store import Store, open_store
from adapters.leases import SqlLeases
from domain.ports import Appended
from tests.accepting import accepting
from tests.adapters.deaf_line import Line, deaf_line
from tests.postgres import postgres_server, postgres_url
from tests.redis_server import RedisServer, redis_server
from workers.heartbeats import Heartbeats

__all__ = ["postgres_server", "postgres_url", "redis_server"]

AT_ONCE_SECONDS = 1.0


@pytest.fixture
async def line(postgres_url: str) -> AsyncIterator[Line]:
    """A line to an empty database with the log's tables."""
    store = await open_store(postgres_url)
    await store.close()
    async with deaf_line(postgres_url) as line:
        yield line


@pytest.fixture
async def database(line: Line) -> AsyncIterator[PostgresDatabase]:
    def ignore(_: Appended) -> None:
        """Nobody follows."""

    database = await open_postgres(line.url, ignore)
    yield database
    line.hang_up()
    await database.close()


async def test_whoever_stops_waiting_for_a_vanished_database_is_free_at_once(
    line: Line, database: PostgresDatabase
) -> None:
    line.deaf = True
    for work in (database.fetch("SELECT 1", ()), SqlLeases(database).renew("x", 5)):
        before = time.monotonic()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await work

        assert time.monotonic() - before < AT_ONCE_SECONDS


async def test_what_was_left_in_a_transaction_is_not_committed(
    line: Line, database: PostgresDatabase, postgres_url: str
) -> None:
    inserted = asyncio.Event()

    def script() -> Any:
        yield "INSERT INTO leaders (role, owner, expires_at) VALUES ('x', 'y', 0)", ()
        line.deaf = True
        inserted.set()
        yield "SELECT 1", ()

    task = asyncio.create_task(database.transact(script()))
    await inserted.wait()
    task.cancel()
    await asyncio.wait([task])
    line.hang_up()

    assert task.cancelled()
    connection = await connect_postgres(postgres_url)
    assert await connection.fetchval("SELECT count(*) FROM leaders") == 0
    await connection.close()


async def test_a_database_that_is_back_is_used_again(
    line: Line, database: PostgresDatabase
) -> None:
    line.deaf = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await database.fetch("SELECT 1", ())
    line.deaf = False

    assert await database.fetch("SELECT 2", ())


async def test_a_worker_gives_up_its_leases_when_they_run_out(
    line: Line, database: PostgresDatabase
) -> None:
    lost: list[float] = []
    began, seconds = time.monotonic(), 3.0

    def lose(_: str) -> None:
        lost.append(time.monotonic() - began)

    beats = Heartbeats(SqlLeases(database), "x", seconds, lost=lose, stray=lose)
    beats.hold("run-x", began + seconds)
    line.deaf = True
    beating = asyncio.create_task(beats.run())
    await asyncio.sleep(seconds + AT_ONCE_SECONDS)
    beating.cancel()

    assert len(lost) == 1
    assert lost[0] < seconds + 0.3  # a renewal that is under way is not waited for


async def test_both_ends_of_a_postgresql_connection_watch_it(postgres_url: str) -> None:
    connection: Any = await connect_postgres(postgres_url)
    found = connection._transport.get_extra_info("socket")

    assert _watched(found)
    await connection.close()
    store: Store = await open_store(postgres_url)
    rows = await store.database.fetch("SELECT current_setting('tcp_user_timeout')", ())
    assert rows[0][0] == "5000"
    await store.close()


async def test_connections_to_redis_are_watched() -> None:
    """A subscriber says nothing, and would wait for a vanished server for ever."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with accepting(hang_up) as port:
        url = f"redis://127.0.0.1:{port}"
        # Any: how redis-py opens a socket is its own business.
        waiting: Any = connect(url).connection_pool.make_connection()
        await waiting._connect()
        blocking: Any = connect_blocking(url).connection_pool.make_connection()
        with await asyncio.to_thread(blocking._connect) as found:
            assert _watched(found)

        assert _watched(waiting._writer.get_extra_info("socket"))
        await waiting.disconnect(nowait=True)


async def test_a_subscriber_whose_server_has_vanished_says_so(redis_server: RedisServer) -> None:
    line: Any = Redis(connect(redis_server.url))  # Any: its connection is its own
    heard = line.listen("channel")
    assert await anext(heard) is None

    # What a transport does when the kernel gives its connection up.
    line._connection._reader.set_exception(TimeoutError(110, "Connection timed out"))

    with pytest.raises(DOWN):
        await anext(heard)


def _watched(found: Any) -> bool:
    asked = found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    return bool(asked) and found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
