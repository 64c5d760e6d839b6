"""Durable appends, all checks and an idempotency key each, against bare INSERTs without any.

The other side is the driver alone: one INSERT of the same row for each commit, into the same table,
with nothing that keeps positions in order.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvloop
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

from adapters.event_store.asyncpg_types import connect
from adapters.event_store.migrate import migrate, sqlite_path
from adapters.event_store.sqlite import connect as connect_sqlite
from adapters.event_store.store import Store, open_store
from bench.logs import INSERT, ME, directory, durable_server, event, raw_row
from bench.rounds import compare
from domain.ids import new_id
from domain.ports import Answer, Change
from tests.postgres import Server

SECONDS = 0.6  # of each measurement
RAW_PROCESSES = 4


def main() -> int:
    """Print one line for each case. Always 0: it only measures."""
    with directory() as place:
        urls = _fresh_files(place)
        for callers, aim in ((1, 0.65), (32, 5)):
            compare(
                f"append-sqlite-{callers}",
                lambda callers=callers: _ours(next(urls), callers),
                lambda: _raw_sqlite(next(urls)),
                aim=aim,
            )
    with durable_server() as server, _writers() as raw:
        compare(
            "append-postgres-32",
            lambda: _on(server, lambda url: _ours(url, 32)),
            lambda: _on(server, lambda url: _raw_postgres(url, raw)),
            aim=5,
        )
        compare(
            "append-eventsourcing-4",
            lambda: _on(server, lambda url: _ours(url, 4)),
            lambda: _on(server, _eventsourcing),
            aim=5,
        )
    return 0


def _ours(url: str, callers: int) -> float:
    """Appends a second, of so many callers in one process."""
    return uvloop.run(_append_for(url, callers))


async def _append_for(url: str, callers: int) -> float:
    store = await open_store(url)
    await asyncio.gather(*(_caller(store, time.perf_counter() + 0.1) for _ in range(callers)))
    started = time.perf_counter()
    done = await asyncio.gather(*(_caller(store, started + SECONDS) for _ in range(callers)))
    took = time.perf_counter() - started
    await store.close()
    return sum(done) / took


async def _caller(store: Store, until: float) -> int:
    done = 0
    while time.perf_counter() < until:
        id = new_id()
        answer = Answer(scope="workspace-1", key=id, body_hash=id, body=b'{"id":"an answer"}')
        change = Change(stream=f"agent-{id}", events=[event(id)], expected=0)
        await store.append([change], ME, answer=answer)
        done += 1
    return done


def _fresh_files(place: Path) -> Iterator[str]:
    for number in count():
        url = f"sqlite:///{place / str(number) / 'log.db'}"
        asyncio.run(migrate(url))
        yield url


def _raw_sqlite(url: str) -> float:
    statement = f"{INSERT} (?,?,?,?,?,?,?,?,?,?,?,?)"
    done = 0
    with closing(connect_sqlite(sqlite_path(url))) as connection:
        started = time.perf_counter()
        while time.perf_counter() < started + SECONDS:
            done += 1
            connection.execute(statement, raw_row(done))
        return done / (time.perf_counter() - started)


def _on(server: Server, measure: Callable[[str], float]) -> float:
    """Measure on a fresh database."""
    url = server.new_database()
    asyncio.run(migrate(url))
    try:
        return measure(url)
    finally:
        server.drop_database(url)


@contextmanager
def _writers() -> Generator[Any]:
    """Processes for the other side, which have loaded everything before they are measured."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(RAW_PROCESSES) as pool:
        yield pool


def _raw_postgres(url: str, writers: Any) -> float:
    start = time.time() + 0.3
    jobs = [(url, number, start) for number in range(RAW_PROCESSES)]
    return sum(writers.map(_raw_writer, jobs, chunksize=1))


def _raw_writer(job: tuple[str, int, float]) -> float:
    return asyncio.run(_insert_for(*job))


async def _insert_for(url: str, number: int, start: float) -> float:
    statement = f"{INSERT} ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)"
    connection = await connect(url)
    await connection.execute(statement, *raw_row(number * 10_000_000))
    await asyncio.sleep(max(0.0, start - time.time()))
    done = 0
    started = time.perf_counter()
    while time.perf_counter() < started + SECONDS:
        done += 1
        await connection.execute(statement, *raw_row(number * 10_000_000 + done))
    took = time.perf_counter() - started
    await connection.close()
    return done / took


def _eventsourcing(url: str) -> float:
    """The library's recorder, with its default table lock: four threads, as it is meant."""
    address = url.removeprefix("postgresql://argosy@")
    host, _, rest = address.partition(":")
    port, _, name = rest.partition("/")
    with PostgresDatastore(name, host, port, "argosy", "", pool_size=4, max_overflow=4) as store:
        recorder = PostgresApplicationRecorder(store, events_table_name="recorded")
        recorder.create_table()
        with ThreadPoolExecutor(4) as pool:
            started = time.perf_counter()
            calls = [pool.submit(_record, recorder, started + SECONDS) for _ in range(4)]
            done = sum(call.result() for call in calls)
            return done / (time.perf_counter() - started)


def _record(recorder: PostgresApplicationRecorder, until: float) -> int:
    done = 0
    while time.perf_counter() < until:
        state = raw_row(None)[6]
        recorder.insert_events([StoredEvent(uuid4(), 1, "agent.created", state)])
        done += 1
    return done
