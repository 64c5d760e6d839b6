"""The transcripts of sixteen runs at once, against bare INSERTs of the same rows.

Ours checks the attempt and gives each entry its version. The other side has both in hand: on SQLite
it inserts one append's rows and commits, again and again; on PostgreSQL so do sixteen connections.
"""

import asyncio
import time
from contextlib import closing

import uvloop

from adapters.event_store.asyncpg_types import connect
from adapters.event_store.migrate import migrate, sqlite_path
from adapters.event_store.sqlite import connect as connect_sqlite
from adapters.event_store.store import Store, open_store
from bench.logs import INSERT, ME, directory, durable_server, raw_row
from bench.rounds import compare
from domain.entries import MessageSaid
from domain.ids import new_id
from domain.ports import Change
from tests.postgres import Server

SECONDS = 0.6  # of each measurement
RUNS = 16
ENTRIES = 8  # in one append, as the run host gathers them
TEXT = "a line of what an agent has to say while it works, which is about so long, mostly, " * 2


def main() -> int:
    """Print one line for each database. Always 0: it only measures."""
    with directory() as place:
        numbers = iter(range(1000))

        def fresh() -> str:
            url = f"sqlite:///{place / str(next(numbers)) / 'log.db'}"
            asyncio.run(migrate(url))
            return url

        compare(
            "entries-sqlite-16", lambda: uvloop.run(_ours(fresh())), lambda: _raw(fresh()), aim=0.7
        )
    with durable_server() as server:
        compare(
            "entries-postgres-16",
            lambda: uvloop.run(_ours(_fresh(server))),
            lambda: uvloop.run(_raw_postgres(_fresh(server))),
            aim=0.7,
        )
    return 0


def _fresh(server: Server) -> str:
    url = server.new_database()
    asyncio.run(migrate(url))
    return url


async def _ours(url: str) -> float:
    store = await open_store(url)
    streams = [f"run-{new_id()}" for _ in range(RUNS)]
    await asyncio.gather(*(_run(store, stream, time.perf_counter() + 0.1) for stream in streams))
    started = time.perf_counter()
    done = await asyncio.gather(*(_run(store, stream, started + SECONDS) for stream in streams))
    took = time.perf_counter() - started
    await store.close()
    return sum(done) / took


async def _run(store: Store, stream: str, until: float) -> int:
    done = 0
    while time.perf_counter() < until:
        said = [MessageSaid(text=TEXT) for _ in range(ENTRIES)]
        await store.append([Change(stream=stream, events=said, attempt=0)], ME)
        done += ENTRIES
    return done


def _raw(url: str) -> float:
    statement = f"{INSERT} (?,?,?,?,?,?,?,?,?,?,?,?)"
    streams = [f"run-{new_id()}" for _ in range(RUNS)]
    done = 0
    with closing(connect_sqlite(sqlite_path(url))) as connection:
        started = time.perf_counter()
        while time.perf_counter() < started + SECONDS:
            stream = streams[done // ENTRIES % RUNS]
            connection.execute("BEGIN")
            connection.executemany(statement, _rows(stream, done))
            connection.execute("COMMIT")
            done += ENTRIES
        return done / (time.perf_counter() - started)


async def _raw_postgres(url: str) -> float:
    started = time.perf_counter() + 1
    done = await asyncio.gather(*(_insert(url, number, started) for number in range(RUNS)))
    return sum(done) / (time.perf_counter() - started)


async def _insert(url: str, number: int, start: float) -> int:
    statement = f"{INSERT} ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)"
    connection = await connect(url)
    stream, done = f"run-{new_id()}", 0
    await connection.executemany(statement, _rows(f"warm-{number}", 0))
    await asyncio.sleep(max(0.0, start - time.perf_counter()))
    while time.perf_counter() < start + SECONDS:
        await connection.executemany(statement, _rows(stream, done))
        done += ENTRIES
    await connection.close()
    return done


def _rows(stream: str, before: int) -> list[tuple[object, ...]]:
    data = b'{"type":"run.message_said","text":"%s"}' % TEXT.encode()
    rows: list[tuple[object, ...]] = []
    for version in range(before + 1, before + 1 + ENTRIES):
        row = raw_row(None, stream, version)
        rows.append((*row[:4], "run.message_said", 1, data, *row[7:]))
    return rows
