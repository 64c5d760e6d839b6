"""Bringing a database to the schema that this version of the code works with."""

import asyncio
import importlib
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType

from adapters.event_store.asyncpg_types import LOST, PostgresError, connect
from domain.errors import Unavailable

# The newest revision in `migrations/versions`.
REVISION = "0002"
VERSION_TABLE = "log_schema"
SQLITE = "sqlite:///"
_CURRENT = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  # a constant


async def migrate(url: str) -> None:
    """Create or upgrade the log's tables. Several processes may do this at once.

    Raises Unavailable when the database cannot be reached, or was upgraded by a newer version.
    """
    if url.startswith(SQLITE):
        await asyncio.to_thread(_migrate_sqlite, sqlite_path(url))
    else:
        await _migrate_postgres(url)


def sqlite_path(url: str) -> Path:
    """Return the file of a `sqlite:///<file>` URL."""
    return Path(url.removeprefix(SQLITE))


def _migrate_sqlite(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            current = _sqlite_revision(connection)
            if not _is_current(current):
                _upgrades().upgrade_sqlite(connection)
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"The log {path} cannot be opened: {error}") from error


def _sqlite_revision(connection: sqlite3.Connection) -> str:
    known = "SELECT 1 FROM sqlite_schema WHERE name = ?"
    if connection.execute(known, (VERSION_TABLE,)).fetchone() is None:
        return ""
    row = connection.execute(_CURRENT).fetchone()
    return row[0] if row else ""


async def _migrate_postgres(url: str) -> None:
    try:
        connection = await connect(url, timeout=30)
        try:
            known = await connection.fetchval("SELECT to_regclass($1)", VERSION_TABLE)
            current = await connection.fetchval(_CURRENT) if known else ""
        finally:
            await connection.close()
        if not _is_current(current or ""):
            await _upgrades().upgrade_postgres(url)
    except (PostgresError, *LOST) as error:
        raise Unavailable(f"The log's database cannot be opened: {error}") from error


def _is_current(revision: str) -> bool:
    if revision > REVISION:
        raise Unavailable(
            f"The log has schema {revision}, and this version of Argosy knows {REVISION} at most."
        )
    return revision == REVISION


def _upgrades() -> ModuleType:
    # Alembic and SQLAlchemy take half a second to load: only a database that needs them pays.
    return importlib.import_module("adapters.event_store.upgrade")
