"""The log's schema: migrations lead to it, starting on it is quick, and a newer one is refused."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

from adapters.event_store import migrate
from adapters.event_store.asyncpg_types import connect
from adapters.event_store.schema import metadata
from adapters.event_store.sqlite import connect as connect_sqlite
from adapters.event_store.store import open_store
from domain.errors import Unavailable
from tests.postgres import postgres_server, postgres_url
from tests.stores import database_url

__all__ = ["database_url", "postgres_server", "postgres_url"]


def differences(connection: sa.Connection) -> list[object]:
    """Return what a database has that the schema has not, and the other way round."""
    skipped = {migrate.VERSION_TABLE}
    if connection.dialect.name == "sqlite":
        skipped.add("log_head")  # a view there, which the comparison does not look at
    context = MigrationContext.configure(connection)
    found: list[object] = compare_metadata(context, metadata)
    return [each for each in found if not any(repr(name) in repr(each) for name in skipped)]


async def test_the_migrations_lead_to_the_schema(database_url: str) -> None:
    await migrate.migrate(database_url)

    if database_url.startswith("sqlite"):
        engine = sa.create_engine(database_url)
        with engine.connect() as connection:
            found = differences(connection)
        engine.dispose()
    else:
        remote = create_async_engine(
            "postgresql+asyncpg://", async_creator=lambda: connect(database_url)
        )
        async with remote.connect() as connection:
            found = await connection.run_sync(differences)
        await remote.dispose()
    assert found == []


def test_the_newest_revision_is_the_one_that_is_expected() -> None:
    config = Config()
    folder = Path(migrate.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))

    assert ScriptDirectory.from_config(config).get_current_head() == migrate.REVISION


def test_a_process_that_finds_the_schema_loads_neither_alembic_nor_sqlalchemy(
    tmp_path: Path,
) -> None:
    """Workers start often, and this takes half a second."""
    url = f"sqlite:///{tmp_path / 'log.db'}"
    asyncio.run(migrate.migrate(url))
    script = f"""
import asyncio, sys
from adapters.event_store.store import open_store

async def main():
    store = await open_store({url!r})
    await store.close()

asyncio.run(main())
assert not {{"alembic", "sqlalchemy"}} & set(sys.modules)
"""
    root = Path(__file__).parent.parent.parent

    subprocess.run([sys.executable, "-c", script], cwd=root, check=True, timeout=60)


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await migrate.migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'")

    with pytest.raises(Unavailable, match="9999"):
        await open_store(f"sqlite:///{path}")


async def test_appends_are_synced_before_they_are_acknowledged(tmp_path: Path) -> None:
    await migrate.migrate(f"sqlite:///{tmp_path / 'log.db'}")
    with closing(connect_sqlite(tmp_path / "log.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
