"""Reading what the databases hold once nobody writes any more, straight from their tables."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.event_store.asyncpg_types import connect
from adapters.event_store.read import recorded
from adapters.event_store.store import open_store
from adapters.settings import Settings
from projections import generations
from projections.databases import open_database
from projections.projection import Projection
from projections.rebuilding import Parts, rebuild
from projections.registry import PROJECTIONS
from tests.chaos.evidence import Evidence, Head, Rows

_EVENTS = (
    "SELECT stream, version, position, workspace_id, type, schema_version, at, actor, command_id,"
    " correlation_id, causation_id, data FROM events ORDER BY stream, version"
)
_HEADS = "SELECT stream, version, folding_version FROM streams"
_POSITION = "SELECT position FROM log_head"


async def read_log(evidence: Evidence, settings: Settings) -> None:
    """Read every event, every stream's head, and the log's position."""
    events, heads, position = [
        await _query(settings, each) for each in (_EVENTS, _HEADS, _POSITION)
    ]
    evidence.events = recorded(events)
    evidence.heads = {row[0]: Head(version=row[1], folding_version=row[2]) for row in heads}
    evidence.log_position = position[0][0]


async def read_models(evidence: Evidence, settings: Settings, scratch: Path) -> None:
    """Read every read model as it is served, and as a rebuild from the log makes it."""
    served = open_database(settings.read_url, writes=False)
    fresh = open_database(f"sqlite:///{scratch / 'rebuilt.db'}", writes=True)
    store = await open_store(settings.log_url)
    try:
        async with served.connect() as connection:
            found = await generations.load(connection)
        await generations.create_bookkeeping(fresh)
        parts = Parts(store=store, leases=store.leases, engine=fresh, owner="chaos")
        for projection in PROJECTIONS:
            name = projection.name
            generation = generations.served(found, name)
            if generation is not None:
                evidence.served_positions[name] = generation.position
                evidence.served[name] = await _rows(served, projection, generation.table_name)
            built = await rebuild(parts, projection, fresh=True)
            evidence.rebuilt[name] = await _rows(fresh, projection, built.table_name)
    finally:
        await store.close()
        await served.dispose()
        await fresh.dispose()


async def _rows(engine: AsyncEngine, projection: Projection, table_name: str) -> Rows:
    table = projection.table(table_name)
    async with engine.connect() as connection:
        rows = (await connection.execute(sa.select(table))).mappings().all()
    return {row["id"]: dict(row) for row in rows}


async def _query(settings: Settings, text: str) -> Sequence[Sequence[Any]]:
    if settings.database:
        connection = await connect(settings.database, timeout=30)
        try:
            return await connection.fetch(text)
        finally:
            await connection.close()
    path = settings.log_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as opened:
        return opened.execute(text).fetchall()
