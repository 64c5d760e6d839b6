"""The task that appends on PostgreSQL: one connection, all waiting appends in one commit.

A batch is first sent as one statement that assumes what this process last knew of its streams. Only
when that turns out to be wrong, or says that something has to be refused, is the batch decided
again under locks, on what the database says.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from adapters.event_store.append import NEW, Head, Item, Key, Name, Plan
from adapters.event_store.asyncpg_types import LOST, Connection, PostgresError
from adapters.event_store.backend import OnCommit
from adapters.event_store.postgres_statements import write
from adapters.event_store.scripts import for_postgres, now_us
from domain.errors import Unavailable

BATCH = 512  # appends committed together at most, so that none waits long for its neighbours
KNOWN_STREAMS = 20_000
RETRIES = 5  # of a batch that collided with other processes, under locks

# SQLSTATE classes: connection, resources (disk full), operator, system, wrong state, lock timeout.
_OUTAGES = frozenset({"08", "25", "53", "55", "57", "58"})
_UNIQUE_VIOLATION = "23505"
_DIVISION_BY_ZERO = "22012"
_COLLISIONS = frozenset({_UNIQUE_VIOLATION, _DIVISION_BY_ZERO, "40001", "40P01"})

_TAKE_LEASE = for_postgres(
    "INSERT INTO leases (stream, job_id, owner, attempt, expires_at, address, waits_for)"
    " VALUES ($1, '', $2, $3, now_us() + $4, $5, '')"
    " ON CONFLICT (stream) DO UPDATE SET owner = excluded.owner, attempt = excluded.attempt,"
    " expires_at = excluded.expires_at, address = excluded.address, waits_for = ''"
)


class Appender:
    """Takes appends from the loop it was made on. `connect` is tried again after every outage."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], on_commit: OnCommit) -> None:
        self._connect = connect
        self._on_commit = on_commit
        self._connection: Connection | None = None
        self._pending: list[Item] = []
        self._work = asyncio.Event()
        self._closing = False
        self._known: dict[str, Head] = {}
        self._task = asyncio.get_running_loop().create_task(self._run(), name="log-appender")

    def submit(self, item: Item) -> None:
        """Take an append into the next batch."""
        if self._closing:
            raise Unavailable("The log is closed.")
        self._pending.append(item)
        self._work.set()

    def remember(self, stream: str, head: Head) -> None:
        """Note where a stream was seen to stand; what is older than that is forgotten."""
        known = self._known.pop(stream, None)
        self._known[stream] = head if known is None or known.version <= head.version else known
        if len(self._known) > KNOWN_STREAMS:
            del self._known[next(iter(self._known))]

    async def close(self) -> None:
        """Commit what was accepted."""
        self._closing = True
        self._work.set()
        await self._task
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _run(self) -> None:
        while self._pending or not self._closing:
            await self._work.wait()
            self._work.clear()
            while self._pending:
                batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
                # A caller that was cancelled meanwhile has been forgotten by everybody.
                wanted = [item for item in batch if not item.answered.done()]
                if wanted:
                    await self._write_or_fail(wanted)

    async def _write_or_fail(self, items: list[Item]) -> None:
        try:
            if not await self._write_at_once(items):
                await self._write_under_locks(items)
        except Exception as error:  # noqa: BLE001  # it is the callers', who wait for it
            for item in items:
                for change in item.changes:
                    self._known.pop(change.stream, None)
            if is_outage(error):
                self._drop_connection()
            elif len(items) > 1:
                # One append holds a value that the database does not take. Its neighbours go on.
                for item in items:
                    await self._write_or_fail([item])
                return
            _fail(items, error)

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _open(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            try:
                self._connection = await self._connect()
            except (PostgresError, *LOST) as error:
                raise ConnectionError(str(error)) from error
        return self._connection

    async def _write_at_once(self, items: list[Item]) -> bool:
        """Try it on what is known; False if that is too little, or no longer so."""
        if not all(self._is_foreseeable(item) for item in items):
            return False
        plan = Plan(_Assumed(self._known), 0, now_us())
        for item in items:
            plan.add(item)
        if plan.refused or not plan.rows:
            return False
        connection = await self._open()
        before = {stream: self._known.get(stream, NEW) for stream in plan.heads}
        text, values = write(plan, before)
        try:
            row = await connection.fetchrow(text, *values)
        except PostgresError as error:
            if _sqlstate(error) in _COLLISIONS:
                return False
            raise
        assert row is not None
        self._answer(plan, row[0])
        return True

    def _is_foreseeable(self, item: Item) -> bool:
        """Whether the statement alone would notice all that can be wrong with an append."""
        for change in item.changes:
            if change.lease is not None or not change.events:
                return False
            if change.expected != 0 and change.stream not in self._known:
                return False
        return all(reservation.id for reservation in item.reservations)

    async def _write_under_locks(self, items: list[Item]) -> None:
        connection = await self._open()
        for left in reversed(range(RETRIES)):
            try:
                async with connection.transaction():
                    facts = await _read(connection, items)
                    plan = Plan(facts, 0, now_us())
                    for item in items:
                        plan.add(item)
                    position = await _store(connection, plan, facts)
            except PostgresError as error:
                if not left or _sqlstate(error) not in _COLLISIONS:
                    raise
            else:
                for stream, head in facts.heads.items():
                    self.remember(stream, head)
                self._answer(plan, position)
                return

    def _answer(self, plan: Plan, position: int) -> None:
        for stream, head in plan.heads.items():
            self.remember(stream, head)
        offset = position - plan.position
        plan.answer(offset=offset, position=position, on_commit=self._on_commit)


class _Assumed:
    """What this process last knew, and nothing else: a new name is free, a new command unsent."""

    def __init__(self, known: dict[str, Head]) -> None:
        self._known = known

    def head(self, stream: str) -> Head:
        return self._known.get(stream, NEW)

    def reserved(self, name: Name) -> str:  # noqa: ARG002  # assumed to be free
        return ""

    def is_answered(self, key: Key) -> bool:  # noqa: ARG002  # assumed to be new
        return False


class _Locked:
    """What the database says, and keeps until the commit."""

    def __init__(self) -> None:
        self.heads: dict[str, Head] = {}
        self.names: dict[Name, str] = {}
        self.answered: set[Key] = set()

    def head(self, stream: str) -> Head:
        return self.heads.get(stream, NEW)

    def reserved(self, name: Name) -> str:
        return self.names.get(name, "")

    def is_answered(self, key: Key) -> bool:
        return key in self.answered


async def _read(connection: Connection, items: list[Item]) -> _Locked:
    """Lock and return all that a batch depends on: the head first, then streams in their order."""
    facts = _Locked()
    names = [(each.scope, each.kind, each.name) for item in items for each in item.reservations]
    keys = [(item.answer.scope, item.answer.key) for item in items if item.answer is not None]
    folds = any(event.folds for item in items for events in item.events for event in events)
    if folds or names or keys:
        await connection.execute("SELECT position FROM log_head FOR UPDATE")
    streams = sorted({change.stream for item in items for change in item.changes})
    if streams:
        text = (
            "SELECT stream, version, folding_version, attempt FROM streams"
            " WHERE stream = ANY($1) ORDER BY stream FOR UPDATE"
        )
        rows = await connection.fetch(text, streams)
        facts.heads = {row[0]: Head(row[1], row[2], row[3]) for row in rows}
    if names:
        text = (
            "SELECT r.scope, r.kind, r.name, r.id FROM reservations r"
            " JOIN unnest($1::text[], $2::text[], $3::text[]) AS u(scope, kind, name)"
            " USING (scope, kind, name)"
        )
        rows = await connection.fetch(text, *zip(*names, strict=True))
        facts.names = {(row[0], row[1], row[2]): row[3] for row in rows}
    if keys:
        text = (
            "SELECT scope, key FROM commands"
            " JOIN unnest($1::text[], $2::text[]) AS u(scope, key) USING (scope, key)"
        )
        rows = await connection.fetch(text, *zip(*keys, strict=True))
        facts.answered = {(row[0], row[1]) for row in rows}
    return facts


async def _store(connection: Connection, plan: Plan, facts: _Locked) -> int:
    """Write a plan; returns the log's head after it."""
    changed = [name for name in plan.names if name in facts.names]
    if changed:
        text = "DELETE FROM reservations WHERE scope = $1 AND kind = $2 AND name = $3"
        await connection.executemany(text, changed)
    text, values = write(plan, {stream: facts.head(stream) for stream in plan.heads})
    row = await connection.fetchrow(text, *values)
    assert row is not None
    for stream, owner, attempt, seconds, address in sorted(plan.leases.values()):
        if owner:
            microseconds = round(seconds * 1e6)
            await connection.execute(_TAKE_LEASE, stream, owner, attempt, microseconds, address)
        else:
            await connection.execute("DELETE FROM leases WHERE stream = $1", stream)
    return row[0]


def is_outage(error: Exception) -> bool:
    """Whether it is the database's trouble, not one value's."""
    if isinstance(error, LOST):
        return True
    return isinstance(error, PostgresError) and (_sqlstate(error) or "")[:2] in _OUTAGES


def _sqlstate(error: Exception) -> Any:
    return getattr(error, "sqlstate", None)


def _fail(items: list[Item], error: Exception) -> None:
    outage = is_outage(error) or _sqlstate(error) in _COLLISIONS
    for item in items:
        if not item.answered.done():
            refusal = Unavailable(f"The log cannot be written: {error}") if outage else error
            item.answered.set_exception(refusal)
