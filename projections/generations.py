"""Generations of read models: which tables there are, how far each got, and which one is served.

building -> active -> retired, then dropped; active <-> stopped (an event it could not handle);
building -> failed (the same, while another is served). One of a projection's generations is served:
the active or stopped one.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from projections.projection import Moment, Projection

type State = Literal["building", "active", "stopped", "failed", "retired"]

SERVED: tuple[State, ...] = ("active", "stopped")
KEEP_RETIRED_SECONDS = 30.0  # longer than any query of a reader that found it just before

_METADATA = sa.MetaData()
_TABLE = sa.Table(
    "projections",
    _METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("generation", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("error_position", sa.BigInteger),
    sa.Column("changed_at", Moment, nullable=False),
)
_SERVED_HERE = _TABLE.c.state.in_([sa.literal_column(f"'{state}'") for state in SERVED])
_BUILDING_HERE = _TABLE.c.state == sa.literal_column("'building'")
sa.Index(
    "projections_served",
    _TABLE.c.name,
    unique=True,
    sqlite_where=_SERVED_HERE,
    postgresql_where=_SERVED_HERE,
)
sa.Index(
    "projections_building",
    _TABLE.c.name,
    unique=True,
    sqlite_where=_BUILDING_HERE,
    postgresql_where=_BUILDING_HERE,
)

# What a checkpoint is recognised by.
_STANDING = (
    _TABLE.c.name,
    _TABLE.c.version,
    _TABLE.c.generation,
    _TABLE.c.state,
    _TABLE.c.position,
)

# Two processes that create tables at once would fail on PostgreSQL: IF NOT EXISTS is no lock.
_CREATE_LOCK = 7_206_001


class Superseded(Exception):  # not an error of anybody's: start again from what is stored
    """Another process moved the checkpoint or switched the table; nothing was written."""


class Generation(Struct, frozen=True, kw_only=True):
    """One table of one projection.

    position: the log's position up to which it has everything.
    error, error_position: why it stopped or failed, and at which event.
    """

    name: str
    version: int
    generation: int
    state: State
    position: int
    error: str = ""
    error_position: int | None = None
    changed_at: datetime

    @property
    def key(self) -> tuple[str, int, int]:
        """What names it."""
        return self.name, self.version, self.generation

    @property
    def table_name(self) -> str:
        """`runs_v1`, and `runs_v1_g2` for the next generation of the same version."""
        suffix = f"_g{self.generation}" if self.generation > 1 else ""
        return f"{self.name}_v{self.version}{suffix}"

    @property
    def served(self) -> bool:
        """Whether readers are given it."""
        return self.state in SERVED


async def create_bookkeeping(engine: AsyncEngine) -> None:
    """Make the `projections` table where it does not exist yet."""
    async with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATE_LOCK)))
        await connection.run_sync(_METADATA.create_all)


def bookkeeping_exists(connection: sa.Connection) -> bool:
    """Whether any projector was ever here."""
    return sa.inspect(connection).has_table(_TABLE.name)


async def load(connection: AsyncConnection, name: str | None = None) -> list[Generation]:
    """Return all generations, or one projection's, the oldest first."""
    query = sa.select(_TABLE).order_by(_TABLE.c.name, _TABLE.c.version, _TABLE.c.generation)
    if name is not None:
        query = query.where(_TABLE.c.name == name)
    rows = (await connection.execute(query)).mappings()
    return [Generation(**row) for row in rows]


async def lock(connection: AsyncConnection, name: str) -> list[Generation]:
    """As `load`, and nobody else changes them until the transaction ends."""
    await connection.execute(
        sa.select(_TABLE.c.generation).where(_TABLE.c.name == name).with_for_update()
    )
    return await load(connection, name)


def served(generations: Iterable[Generation], name: str) -> Generation | None:
    """Return the generation that readers are given, None before the first is built."""
    return next((each for each in generations if each.name == name and each.served), None)


async def begin(connection: AsyncConnection, projection: Projection) -> Generation:
    """Make the next generation of the projection's version, with its table, which has no index yet.

    Generations of which the building did not end are dropped.
    """
    taken = await lock(connection, projection.name)
    for each in taken:
        if each.state in ("building", "failed"):
            await drop(connection, each)
    numbers = [each.generation for each in taken if each.version == projection.version]
    generation = Generation(
        name=projection.name,
        version=projection.version,
        generation=max(numbers, default=0) + 1,
        state="building",
        position=0,
        changed_at=datetime.now(UTC),
    )
    await connection.execute(sa.insert(_TABLE), [_values(generation)])
    table = projection.table(generation.table_name)
    indexes = list(table.indexes)
    table.indexes.clear()
    await connection.run_sync(table.drop, checkfirst=True)
    await connection.run_sync(table.create)
    table.indexes.update(indexes)
    return generation


async def advance(
    connection: AsyncConnection, generations: Sequence[Generation], position: int
) -> None:
    """Move the checkpoints, which all stand where the generations say they do, to `position`.

    Raises Superseded if one of them does not: another process was there first.
    """
    standing = {
        f"{column.name}_{number}": getattr(each, column.name)
        for number, each in enumerate(generations)
        for column in _STANDING
    }
    statement = _advancing(len(generations))
    moved = await connection.execute(statement, {**standing, "reached": position})
    if moved.rowcount != len(generations):
        raise Superseded


async def set_state(
    connection: AsyncConnection,
    generation: Generation,
    state: State,
    *,
    error: str = "",
    error_position: int | None = None,
) -> None:
    """Change a generation's state. Raises Superseded if it was changed by somebody else."""
    standing = sa.and_(_is(generation), _TABLE.c.state == generation.state)
    values = {"state": state, "error": error, "error_position": error_position}
    changed = await connection.execute(
        sa.update(_TABLE).where(standing).values(**values, changed_at=datetime.now(UTC))
    )
    if changed.rowcount != 1:
        raise Superseded


async def drop(connection: AsyncConnection, generation: Generation) -> None:
    """Forget a generation, and drop its table."""
    await connection.execute(sa.delete(_TABLE).where(_is(generation)))
    # No column is needed to drop a table, and its columns may be those of another version.
    table = sa.Table(generation.table_name, sa.MetaData())
    await connection.run_sync(table.drop, checkfirst=True)


async def drop_retired(connection: AsyncConnection) -> None:
    """Drop what was retired long enough ago that nobody reads it any more."""
    before = datetime.now(UTC) - timedelta(seconds=KEEP_RETIRED_SECONDS)
    for each in await load(connection):
        if each.state == "retired" and each.changed_at < before:
            await drop(connection, each)


@cache
def _advancing(count: int) -> sa.Update:
    """Return the statement for so many checkpoints. Making one takes longer than running it."""
    standing = (
        sa.and_(*(column == sa.bindparam(f"{column.name}_{number}") for column in _STANDING))
        for number in range(count)
    )
    return sa.update(_TABLE).where(sa.or_(*standing)).values(position=sa.bindparam("reached"))


def _is(generation: Generation) -> sa.ColumnElement[bool]:
    return sa.and_(
        _TABLE.c.name == generation.name,
        _TABLE.c.version == generation.version,
        _TABLE.c.generation == generation.generation,
    )


def _values(generation: Generation) -> dict[str, Any]:
    return {field: getattr(generation, field) for field in Generation.__struct_fields__}
