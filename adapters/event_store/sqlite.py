"""The log in a SQLite file: one writer thread that commits many appends at once, a few readers."""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from adapters.event_store.append import Head, Item
from adapters.event_store.backend import OnCommit
from adapters.event_store.read import BRIEF
from adapters.event_store.scripts import Rows, Script, for_sqlite, now_us
from adapters.event_store.sqlite_writer import Call, Writer
from domain.errors import Unavailable

READERS = 4
BUSY_SECONDS = 10.0  # how long a reader waits where even readers must: while a log is recovered


class SqliteDatabase:
    """One file, shared with other processes on this machine."""

    def __init__(self, path: Path, on_commit: OnCommit) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._pending: list[Item | Call] = []
        self._flushing = False
        self._closed = False
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="log-reader")
        self._local = threading.local()
        self._here: sqlite3.Connection | None = None  # for brief reads, on the loop itself
        self._connections: list[sqlite3.Connection] = []
        self._writer = Writer(lambda: connect(path), self._loop, on_commit)
        self._writer.start()

    def submit(self, item: Item) -> None:
        """Take an append into the next batch."""
        self._send(item)

    def remember(self, stream: str, head: Head) -> None:
        """Do nothing: asking the file is cheap."""

    async def transact[T](self, script: Script[T]) -> T:
        """Run a script in a transaction of its own, between batches."""
        call = Call(script, self._loop.create_future())
        self._send(call)
        return await call.answered

    async def fetch(self, text: str, values: Sequence[Any]) -> Rows:
        """Return the rows of one reading statement, as of one moment.

        Brief ones take less time than to hand them to another thread. They are done here, unless
        even a reader has to wait, which no loop should.
        """
        if self._closed:
            raise Unavailable("The log is closed.")
        if text in BRIEF:
            with suppress(sqlite3.OperationalError):
                self._here = self._here or self._open_reader(busy_seconds=0)
                return self._here.execute(for_sqlite(text), values).fetchall()
        return await self._loop.run_in_executor(self._readers, self._fetch, text, values)

    async def close(self) -> None:
        """Commit what was accepted, then close the file."""
        if self._closed:
            return
        self._closed = True
        self._flush()
        self._writer.stop()
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._connections:
            connection.close()
        # What the writer answered last is already in the loop's queue; let it arrive.
        await asyncio.sleep(0)

    def _send(self, work: Item | Call) -> None:
        if self._closed:
            raise Unavailable("The log is closed.")
        self._pending.append(work)
        # All callers that this turn of the loop runs go to the writer together.
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._pending:
            self._writer.work.put(self._pending)
            self._pending = []

    def _fetch(self, text: str, values: Sequence[Any]) -> Rows:
        try:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                self._local.connection = connection = self._open_reader(BUSY_SECONDS)
            return connection.execute(for_sqlite(text), values).fetchall()
        except sqlite3.OperationalError as error:
            raise Unavailable(f"The log cannot be read: {error}") from error

    def _open_reader(self, busy_seconds: float) -> sqlite3.Connection:
        connection = connect(self._path, busy_seconds)
        self._connections.append(connection)
        connection.execute("PRAGMA query_only=ON")
        return connection


def connect(path: Path, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Open the file so that a commit is on the disk when it returns."""
    connection = sqlite3.connect(
        path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA synchronous=FULL")
        # On macOS a plain fsync leaves the data in the disk's cache. Elsewhere it changes nothing.
        connection.execute("PRAGMA fullfsync=ON")
        connection.create_function("now_us", 0, now_us)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
