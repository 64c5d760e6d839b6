"""Reading the whole log: every event decoded to its type and folded, against a bare scan of pages.

The other side fetches the same rows in the same pages with the driver, and looks at none of them.
"""

import asyncio
import time
from contextlib import closing
from typing import Any

import uvloop

from adapters.event_store import read
from adapters.event_store.asyncpg_types import connect
from adapters.event_store.migrate import sqlite_path
from adapters.event_store.sqlite import connect as connect_sqlite
from adapters.event_store.store import open_store
from bench.logs import ME, directory, durable_server
from bench.rounds import compare
from domain.ids import new_id
from domain.ports import Change
from domain.runs import (
    RUN,
    Run,
    RunCancelRequested,
    RunClaimed,
    RunEnded,
    RunRequested,
    RunRetried,
    RunStarted,
)

RUNS = 2_000  # of seven events each
PAGE = 1_000
MESSAGE = "What a person asks an agent for: some words, not many, with what has to be known. "


def main() -> int:
    """Print one line for each database. Always 0: it only measures."""
    with directory() as place:
        url = f"sqlite:///{place / 'log.db'}"
        uvloop.run(_fill(url))
        compare(
            "replay-sqlite", lambda: uvloop.run(_replay(url)), lambda: _scan_sqlite(url), aim=0.6
        )
    with durable_server() as server:
        url = server.new_database()
        uvloop.run(_fill(url))
        compare(
            "replay-postgres",
            lambda: uvloop.run(_replay(url)),
            lambda: uvloop.run(_scan_postgres(url)),
            aim=0.6,
        )
    return 0


async def _fill(url: str) -> None:
    store = await open_store(url)
    for start in range(0, RUNS, 200):
        history = (Change(stream=f"run-{start + n}", events=_history()) for n in range(200))
        await asyncio.gather(*(store.append([change], ME) for change in history))
    await store.close()


def _history() -> list[Any]:
    id, worker = new_id(), "host-1"
    requested = RunRequested(
        run_id=id,
        workspace_id="workspace-1",
        agent_id=new_id(),
        agent_name="greeter",
        deployment_id=new_id(),
        slug="greeter",
        revision=3,
        message=MESSAGE,
    )
    return [
        requested,
        RunClaimed(run_id=id, attempt=1, worker=worker),
        RunRetried(run_id=id, attempt=1, detail="its worker was lost"),
        RunClaimed(run_id=id, attempt=2, worker=worker),
        RunStarted(run_id=id, attempt=2, sandbox="sandbox-1", stages={"layers": 3.5, "spawn": 9.0}),
        RunCancelRequested(run_id=id, detail="no longer wanted"),
        RunEnded(run_id=id, how="cancelled", reason="requested", attempt=2, output=MESSAGE),
    ]


async def _replay(url: str) -> float:
    """Events a second, decoded, and folded to the state of every stream."""
    store = await open_store(url)
    states: dict[str, Run] = {}
    initial, evolve = RUN.initial, RUN.evolve
    done = 0
    started = time.perf_counter()
    while page := await store.read_all(after=done, limit=PAGE):
        for recorded in page:
            stream = recorded.stream
            states[stream] = evolve(states.get(stream, initial), recorded.event)
        done += len(page)
    took = time.perf_counter() - started
    await store.close()
    return done / took


def _scan_sqlite(url: str) -> float:
    statement = read.READ_ALL.replace("$", "?")
    done = 0
    with closing(connect_sqlite(sqlite_path(url))) as connection:
        started = time.perf_counter()
        while page := connection.execute(statement, (done, PAGE)).fetchall():
            done += len(page)
        return done / (time.perf_counter() - started)


async def _scan_postgres(url: str) -> float:
    connection = await connect(url)
    done = 0
    started = time.perf_counter()
    while page := await connection.fetch(read.READ_ALL, done, PAGE):
        done += len(page)
    took = time.perf_counter() - started
    await connection.close()
    return done / took
