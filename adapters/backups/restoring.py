"""Restoring a backup into an empty database: all of it in one transaction, or nothing.

Leases come back as run out, because their owners are gone: the reaper finds their work at once.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from adapters.backups.manifests import Manifest
from adapters.backups.tables import KEPT, Kept
from adapters.backups.verifying import kept, rows_of, verify
from adapters.event_store.asyncpg_types import LOST, Connection, PostgresError, connect
from adapters.event_store.migrate import SQLITE, migrate, sqlite_path
from adapters.event_store.sqlite import connect as connect_sqlite
from domain.errors import Conflict, Unavailable

SAY_ROWS = 1000
RUN_OUT = 1  # a moment long ago
_ALL = ", ".join(table.name for table in KEPT)

type Say = Callable[[str, int], None]


async def restore(url: str, folder: Path, say: Say = lambda _table, _rows: None) -> Manifest:
    """Write a backup into the empty database at `url`; positions stay what they were.

    Raises Invalid for a backup that is damaged or newer than this code, Conflict for a database
    that is not empty, Unavailable when it fails: then it is as empty as it was.
    """
    manifest = await asyncio.to_thread(verify, folder)
    await migrate(url)
    load = Load(folder, manifest, say)
    try:
        if url.startswith(SQLITE):
            await asyncio.to_thread(_into_sqlite, sqlite_path(url), load)
        else:
            await _into_postgres(url, load)
    except (PostgresError, sqlite3.Error, *LOST) as error:
        raise Unavailable(f"Nothing was restored: {error}") from error
    return manifest


class Load:
    """The rows of a backup, on their way into a database."""

    def __init__(self, folder: Path, manifest: Manifest, say: Say) -> None:
        self._folder = folder
        self.manifest = manifest
        self._say = say
        self.tables = [kept(manifest, each.name) for each in KEPT if each.name in manifest.columns]

    def rows(self, table: Kept) -> Iterator[tuple[Any, ...]]:
        """Yield a table's rows as they shall be."""
        count = 0
        for row in rows_of(self._folder, self.manifest, table):
            count += 1
            if count % SAY_ROWS == 0:
                self._say(table.name, count)
            yield _run_out(table, row) if table.name == "leases" else row
        self._say(table.name, count)


def _run_out(table: Kept, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a lease that has run out; one that waits for another stream does not run out."""
    lease = dict(zip(table.columns, row, strict=True))
    if not lease["waits_for"]:
        lease["expires_at"] = RUN_OUT
    return tuple({**lease, "address": ""}.values())


def _into_sqlite(path: Path, load: Load) -> None:
    with closing(connect_sqlite(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        _refuse_unless_empty([each for each in KEPT if connection.execute(_any(each)).fetchone()])
        for table in load.tables:
            places = ", ".join("?" * len(table.columns))
            columns = ", ".join(table.columns)
            text = f"INSERT INTO {table.name} ({columns}) VALUES ({places})"  # noqa: S608
            connection.executemany(text, load.rows(table))
        connection.execute("COMMIT")


async def _into_postgres(url: str, load: Load) -> None:
    connection = await connect(url, timeout=30, server_settings={"statement_timeout": "0"})
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {_ALL}, log_head IN ACCESS EXCLUSIVE MODE")
            _refuse_unless_empty([each for each in KEPT if await connection.fetch(_any(each))])
            for table in load.tables:
                await _copy(connection, load, table)
            text = "UPDATE log_head SET position = $1"
            await connection.execute(text, load.manifest.position)
    finally:
        await connection.close()


async def _copy(connection: Connection, load: Load, table: Kept) -> None:
    await connection.copy_records_to_table(
        table.name, records=load.rows(table), columns=table.columns
    )


def _any(table: Kept) -> str:
    return f"SELECT 1 FROM {table.name} LIMIT 1"  # noqa: S608


def _refuse_unless_empty(filled: Sequence[Kept]) -> None:
    if filled:
        names = ", ".join(table.name for table in filled)
        raise Conflict(
            f"The database is not empty (rows in: {names}). A backup is only restored into one "
            "that is: make a new database, and start nothing on it before."
        )
