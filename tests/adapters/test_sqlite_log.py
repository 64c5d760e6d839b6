"""What the SQLite log does differently: reads on the loop, and what it syncs."""

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

from adapters.event_store.sqlite import BUSY_SECONDS, connect
from adapters.event_store.store import Store, open_store
from domain.agents import AgentCreated
from domain.ids import new_id
from domain.ports import Change, Meta

ME = Meta(actor="key:1", workspace_id="workspace-1", command_id="command-1")
FULL = 2  # as `PRAGMA synchronous` says it


async def append(store: Store) -> str:
    """Append a new stream and return its name."""
    id = new_id()
    event = AgentCreated(agent_id=id, workspace_id="workspace-1", name="echo")
    await store.append([Change(stream=f"agent-{id}", events=[event], expected=0)], ME)
    return f"agent-{id}"


async def test_appends_are_synced_whatever_was_written_before(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path / 'log.db'}")
    said: list[str] = []
    await append(store)
    database: Any = store.database  # what SQLite is told is not seen from outside
    writer = database._writer._connection
    assert isinstance(writer, sqlite3.Connection)
    writer.set_trace_callback(said.append)

    await store.leases.lead("dispatcher", "me", 10)
    assert writer.execute("PRAGMA synchronous").fetchone() == (FULL,)

    await append(store)
    await store.close()
    modes = [line for line in said if line.startswith(("PRAGMA synchronous=", "BEGIN", "COMMIT"))]
    assert modes == [
        "PRAGMA synchronous=NORMAL",
        "BEGIN IMMEDIATE",
        "COMMIT",
        "PRAGMA synchronous=FULL",
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]


async def test_a_reader_that_has_to_wait_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await open_store(f"sqlite:///{path}")
    stream = await append(store)
    await store.close()
    store = await open_store(f"sqlite:///{path}")
    alone = connect(path)
    alone.execute("PRAGMA locking_mode=EXCLUSIVE")
    alone.execute("BEGIN IMMEDIATE")
    alone.execute("DELETE FROM followers")
    alone.execute("COMMIT")

    started = time.monotonic()
    reading = asyncio.create_task(store.load(stream))
    await asyncio.sleep(0)
    took = time.monotonic() - started

    assert not reading.done()
    assert took < BUSY_SECONDS / 2
    alone.close()
    assert (await reading).version == 1
    await store.close()
