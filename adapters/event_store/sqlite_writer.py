"""The thread that writes a SQLite log: it commits all appends that wait together."""

import asyncio
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

from adapters.event_store.append import (
    EVENT_COLUMNS,
    NEW,
    Head,
    Item,
    Key,
    Name,
    Plan,
)
from adapters.event_store.backend import OnCommit
from adapters.event_store.scripts import Script, for_sqlite, now_us
from domain.errors import Unavailable

BUSY_SECONDS = 10.0  # how long other processes may keep the file before we give up
RETRY_SECONDS = (0.0002, 0.002)  # between two looks whether they have
BATCH = 512  # appends committed together at most, so that none waits long for its neighbours

_INSERT_EVENT = f"INSERT INTO events ({EVENT_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608  # constants
_MOVE_STREAM = (
    "INSERT INTO streams (stream, version, folding_version, attempt) VALUES (?,?,?,?)"
    " ON CONFLICT (stream) DO UPDATE SET version = excluded.version,"
    " folding_version = excluded.folding_version, attempt = excluded.attempt"
)
_TAKE_LEASE = (
    "INSERT INTO leases (stream, job_id, owner, attempt, expires_at, address, waits_for)"
    " VALUES (?, '', ?, ?, ?, ?, '') ON CONFLICT (stream) DO UPDATE SET owner = excluded.owner,"
    " attempt = excluded.attempt, expires_at = excluded.expires_at, address = excluded.address,"
    " waits_for = ''"
)


class Call(NamedTuple):
    """A script of `leases.py`, to be run between batches. Its result is whatever it returns."""

    script: Script[Any]
    answered: asyncio.Future[Any]


class Writer(threading.Thread):
    """Owns the only connection of this process that writes.

    After a failure the connection is opened anew: what a broken one still believes is not trusted.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        loop: asyncio.AbstractEventLoop,
        on_commit: OnCommit,
    ) -> None:
        super().__init__(name="log-writer", daemon=True)
        self.work: SimpleQueue[list[Item | Call] | None] = SimpleQueue()
        self._connect = connect
        self._loop = loop
        self._on_commit = on_commit
        self._connection: sqlite3.Connection | None = None

    def stop(self) -> None:
        """End after what was put before."""
        self.work.put(None)

    def run(self) -> None:
        """Write until `stop`."""
        running = True
        while running:
            batch, running = self._take()
            self._write_all(batch)
        self._reset()

    def _take(self) -> tuple[list[Item | Call], bool]:
        """Wait for work; return all there is of it, and whether there may be more."""
        batch: list[Item | Call] = []
        taken = self.work.get()
        while taken is not None:
            batch += taken
            if len(batch) >= BATCH or self.work.empty():
                return batch, True
            taken = self.work.get()
        return batch, False

    def _write_all(self, batch: list[Item | Call]) -> None:
        items = [each for each in batch if isinstance(each, Item)]
        if items:
            self._write_or_fail(items)
        if len(items) < len(batch):
            for each in batch:
                if isinstance(each, Call):
                    self._call(each)

    def _write_or_fail(self, items: list[Item]) -> None:
        try:
            self._write(items)
        except Exception as error:  # noqa: BLE001  # it is the caller's, who waits for it
            self._reset()
            if len(items) == 1 or _is_outage(error):
                self._fail([item.answered for item in items], error)
                return
            # One append holds a value that the database does not take. Its neighbours go on.
            for item in items:
                self._write_or_fail([item])

    def _fail(self, waiting: list[asyncio.Future[Any]], error: Exception) -> None:
        self._loop.call_soon_threadsafe(_fail, waiting, error)

    def _begin(self) -> sqlite3.Connection:
        """Start a transaction, as soon as no other process has one.

        SQLite's own waiting sleeps up to 100 ms at a time; a transaction takes less than one.
        """
        connection = self._open()
        give_up = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # or a kind of it
                if not busy or time.monotonic() > give_up:
                    raise
                time.sleep(random.uniform(*RETRY_SECONDS))  # noqa: S311  # only to spread them
            else:
                return connection

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
            self._connection.execute("PRAGMA busy_timeout=0")
        return self._connection

    def _reset(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _write(self, items: list[Item]) -> None:
        connection = self._begin()
        execute = connection.execute
        base = execute("SELECT position FROM log_head").fetchone()[0]
        plan = Plan(_Facts(connection), base, now_us())
        for item in items:
            plan.add(item)
        if plan.writes:
            _insert(connection, plan)
            execute("COMMIT")
        else:
            execute("ROLLBACK")
        self._loop.call_soon_threadsafe(self._answer, plan)

    def _answer(self, plan: Plan) -> None:
        plan.answer(offset=0, position=plan.position, on_commit=self._on_commit)

    def _call(self, call: Call) -> None:
        try:
            # What scripts write follows from the log, or is about now: a crash of the machine may
            # take the last of it back, and the next append syncs it together with its own.
            self._open().execute("PRAGMA synchronous=NORMAL")
            execute = self._begin().execute
            rows: list[tuple[Any, ...]] | None = None
            try:
                while True:
                    # A generator is started by sending it nothing.
                    text, values = call.script.send(rows) if rows is not None else next(call.script)
                    rows = execute(for_sqlite(text), values).fetchall()
            except StopIteration as done:
                result = done.value
            execute("COMMIT")
            execute("PRAGMA synchronous=FULL")
        except Exception as error:  # noqa: BLE001  # it is the caller's, who waits for it
            self._reset()
            self._fail([call.answered], error)
        else:
            self._loop.call_soon_threadsafe(_succeed, call.answered, result)


def _insert(connection: sqlite3.Connection, plan: Plan) -> None:
    if len(plan.rows) == 1:
        connection.execute(_INSERT_EVENT, plan.rows[0])
    else:
        connection.executemany(_INSERT_EVENT, plan.rows)
    for stream, head in plan.heads.items():
        connection.execute(_MOVE_STREAM, (stream, *head))
    for name, id in plan.names.items():
        if id:
            set_name = (
                "INSERT OR REPLACE INTO reservations (scope, kind, name, id) VALUES (?,?,?,?)"
            )
            connection.execute(set_name, (*name, id))
        else:
            give_back = "DELETE FROM reservations WHERE scope = ? AND kind = ? AND name = ?"
            connection.execute(give_back, name)
    for answer in plan.answers.values():
        connection.execute(
            "INSERT INTO commands (scope, key, body_hash, answer, at) VALUES (?,?,?,?,?)",
            (answer.scope, answer.key, answer.body_hash, answer.body, plan.at),
        )
    for stream, owner, attempt, seconds, address in plan.leases.values():
        if owner:
            expires_at = now_us() + round(seconds * 1e6)
            connection.execute(_TAKE_LEASE, (stream, owner, attempt, expires_at, address))
        else:
            connection.execute("DELETE FROM leases WHERE stream = ?", (stream,))


class _Facts:
    """What the file holds, read inside the batch's own transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._heads: dict[str, Head] = {}

    def head(self, stream: str) -> Head:
        head = self._heads.get(stream)
        if head is None:
            row = self._execute(
                "SELECT version, folding_version, attempt FROM streams WHERE stream = ?", (stream,)
            ).fetchone()
            head = self._heads[stream] = NEW if row is None else Head(*row)
        return head

    def reserved(self, name: Name) -> str:
        row = self._execute(
            "SELECT id FROM reservations WHERE scope = ? AND kind = ? AND name = ?", name
        ).fetchone()
        return "" if row is None else row[0]

    def is_answered(self, key: Key) -> bool:
        row = self._execute("SELECT 1 FROM commands WHERE scope = ? AND key = ?", key).fetchone()
        return row is not None


def _succeed(answered: asyncio.Future[Any], result: object) -> None:
    if not answered.done():
        answered.set_result(result)


def _is_outage(error: Exception) -> bool:
    """Whether it is the file's trouble: full, locked, gone or broken. Not one value's."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


def _fail(waiting: list[asyncio.Future[Any]], error: Exception) -> None:
    outage = _is_outage(error)
    for answered in waiting:
        if not answered.done():
            refusal = Unavailable(f"The log cannot be written: {error}") if outage else error
            answered.set_exception(refusal)
