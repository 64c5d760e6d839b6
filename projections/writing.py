"""Statements of a batch, joined and run: one executemany per shape, not one call per event."""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from projections.projection import COMPARE, Comparison, Insert, Statement, Update, default_of

COPY_ROWS = 50  # from so many rows on COPY is worth its own round trip

type Guard = tuple[str, Comparison] | None
type Shape = tuple[tuple[str, ...], Guard]


class Joined:
    """What a batch does to each row, in order: what can be known before it is written, is.

    A row that begins in this batch takes its updates before it is written; updates of one row
    become one, as far as no condition stands between them. Rows are independent of each other.
    """

    def __init__(self, table: sa.Table) -> None:
        self._defaults = {column.name: default_of(column) for column in table.columns}
        self.inserts: dict[str, dict[str, Any]] = {}
        self.updates: dict[str, list[Update]] = {}

    def add(self, statement: Statement) -> None:
        """Take one more statement."""
        id = statement.id
        row = self.inserts.get(id)
        match statement:
            case Update(values=values, where=where) if row is not None:
                if where is None or COMPARE[where[1]](row[where[0]], where[2]):
                    row.update(values)
            case Update(where=None):
                self._join(statement)
            case Update():
                self.updates.setdefault(id, []).append(statement)
            case Insert(values=values) if row is None and id not in self.updates:
                self.inserts[id] = {**self._defaults, "id": id, **values}
            case Insert(values=values):
                raise ValueError(f"{id} is inserted after it was written: {values}")

    def _join(self, update: Update) -> None:
        before = self.updates.setdefault(update.id, [])
        if before and before[-1].where is None:
            before[-1] = Update(update.id, {**before[-1].values, **update.values})
        else:
            before.append(update)

    def rounds(self) -> Iterable[dict[Shape, list[Update]]]:
        """Yield updates by shape; a later round goes after an earlier one."""
        lists = list(self.updates.values())
        for turn in range(max(map(len, lists), default=0)):
            shapes: dict[Shape, list[Update]] = {}
            for updates in lists:
                if turn < len(updates):
                    update = updates[turn]
                    guard = update.where and update.where[:2]
                    shapes.setdefault((tuple(update.values), guard), []).append(update)
            yield shapes


class Writer:
    """Runs statements on one table. SQL is compiled once per shape and given to the driver."""

    def __init__(self, table: sa.Table, dialect: sa.Dialect) -> None:
        self.table = table
        self._dialect = dialect
        self._binds: Mapping[str, Callable[[Any], Any]] = {
            column.name: bind
            for column in table.columns
            if (bind := column.type.dialect_impl(dialect).bind_processor(dialect))
        }
        self._columns = [column.name for column in table.columns]
        self._insert = self._compile(sa.insert(table), self._columns)
        self._updates: dict[Shape, tuple[str, Sequence[str]]] = {}

    async def write(self, connection: AsyncConnection, statements: Iterable[Statement]) -> None:
        """Run the statements as if one after the other."""
        joined = Joined(self.table)
        for statement in statements:
            joined.add(statement)
        if len(joined.inserts) >= COPY_ROWS and self._dialect.name == "postgresql":
            await self._copy(connection, joined.inserts.values())
        elif joined.inserts:
            await self._run(connection, self._insert, joined.inserts.values())
        for shapes in joined.rounds():
            for shape, updates in shapes.items():
                await self._run(connection, self._update(shape), map(_named, updates))

    async def _run(
        self,
        connection: AsyncConnection,
        compiled: tuple[str, Sequence[str]],
        rows: Iterable[dict[str, Any]],
    ) -> None:
        sql, names = compiled
        await connection.exec_driver_sql(sql, self._parameters(rows, names))

    async def _copy(self, connection: AsyncConnection, rows: Iterable[dict[str, Any]]) -> None:
        """Insert by PostgreSQL's COPY, in the same transaction: a third of the time."""
        # Any: the driver's own connection, below SQLAlchemy's.
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.copy_records_to_table(
            self.table.name, records=self._parameters(rows, self._columns), columns=self._columns
        )

    def _parameters(
        self, rows: Iterable[dict[str, Any]], names: Sequence[str]
    ) -> list[tuple[Any, ...]]:
        pick = operator.itemgetter(*names)
        binds = [(name, bind) for name, bind in self._binds.items() if name in names]
        parameters: list[tuple[Any, ...]] = []
        for row in rows:
            for name, bind in binds:
                row[name] = bind(row[name])
            values = pick(row)
            if any(type(value) is str and "\0" in value for value in values):
                values = tuple(map(_storable, values))
            parameters.append(values)
        return parameters

    def _update(self, shape: Shape) -> tuple[str, Sequence[str]]:
        if shape not in self._updates:
            columns, guard = shape
            values: dict[str, Any] = {column: sa.bindparam(column) for column in columns}
            update = sa.update(self.table).where(self.table.c.id == sa.bindparam("_id"))
            if guard:
                column, comparison = guard
                compare = COMPARE[comparison]
                update = update.where(compare(self.table.c[column], sa.bindparam("_where")))
            self._updates[shape] = self._compile(update.values(values), columns)
        return self._updates[shape]

    def _compile(
        self, statement: sa.Insert | sa.Update, columns: Sequence[str]
    ) -> tuple[str, Sequence[str]]:
        # Any: what a compiler offers depends on the dialect; both of ours number their parameters.
        compiled: Any = statement.compile(dialect=self._dialect, column_keys=list(columns))
        return str(compiled), tuple(compiled.positiontup)


def _storable(value: Any) -> Any:
    """PostgreSQL has no text with a zero in it; a list can show that there was one."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def _named(update: Update) -> dict[str, Any]:
    where = update.where[2] if update.where else None
    return {**update.values, "_id": update.id, "_where": where}
