"""Running the migrations, in one transaction and under a lock that other processes wait for."""

import sqlite3
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine

from adapters.event_store.asyncpg_types import connect

LOCK = 4_702_119_301  # any number that nothing else in the database locks


def upgrade_sqlite(connection: sqlite3.Connection) -> None:
    """Upgrade the file that an autocommitting connection is open on."""
    connection.execute("PRAGMA journal_mode=WAL")
    engine = sa.create_engine("sqlite://", creator=lambda: connection, poolclass=sa.StaticPool)
    with engine.connect() as wrapped:
        wrapped.exec_driver_sql("BEGIN IMMEDIATE")
        _upgrade(wrapped)
        wrapped.exec_driver_sql("COMMIT")


async def upgrade_postgres(url: str) -> None:
    """Upgrade the database."""
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: connect(url),
        poolclass=sa.NullPool,
    )
    try:
        async with engine.begin() as connection:
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
