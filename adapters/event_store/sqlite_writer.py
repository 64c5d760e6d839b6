"""The thread that writes a SQLite log: it commits all appends that wait together."""

import asyncio
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

from adapters.event_store.append import Item, Plan
from adapters.event_store.backend import OnCommit
from adapters.event_store.scripts import Script, for_sqlite, now_us
from adapters.event_store.sqlite_statements import Facts, insert
from domain.errors import Unavailable

BUSY_SECONDS = 10.0  # how long other processes may keep the file before we give up
# Between two looks whether they have: a transaction takes a few tenths of a millisecond.
FIRST_RETRY_SECONDS = 0.0001
LONGEST_RETRY_SECONDS = 0.002
BATCH = 512  # appends committed together at most, so that none waits long for its neighbours


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
        pause = FIRST_RETRY_SECONDS
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # or a kind of it
                if not busy or time.monotonic() > give_up:
                    raise
                time.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # only to spread them
                pause = min(2 * pause, LONGEST_RETRY_SECONDS)
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
        try:
            plan = _commit(connection, items, trust=True)
        except sqlite3.IntegrityError:
            plan = None
        if plan is None:
            connection.execute("ROLLBACK")
            plan = _commit(self._begin(), items, trust=False)
            assert plan is not None  # only trust gives up
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


def _commit(connection: sqlite3.Connection, items: list[Item], *, trust: bool) -> Plan | None:
    """Decide and write a batch in the transaction that has begun; returns what was decided.

    None, and the transaction stays open, if something has to be refused: never on trust.
    """
    base = connection.execute("SELECT position FROM log_head").fetchone()[0]
    facts = Facts(connection, items, trust=trust)
    plan = Plan(facts, base, now_us())
    for item in items:
        plan.add(item)
    if plan.refused and trust:
        return None
    if plan.writes:
        insert(connection, plan, facts)
        connection.execute("COMMIT")
    else:
        connection.execute("ROLLBACK")
    return plan


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
