"""What a projection is: a name, a version, a table, and which statements an event means for it."""

import operator
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct

from domain.decider import Event, Recorded

# Long texts in lists are cut here; the resource itself has the whole text.
MOST_CHARACTERS = 1024

type Comparison = Literal["=", "!=", "<"]
COMPARE: Mapping[Comparison, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
}


class Insert(Struct, frozen=True, gc=False):
    """INSERT one row. Columns that `values` leaves out get their default.

    A statement is a value, for whichever table of the projection is being filled: the projector
    joins those of a batch before it runs them (`writing.py`).
    """

    id: str
    values: dict[str, Any]


class Update(Struct, frozen=True, gc=False):
    """UPDATE one row; nothing happens if there is none.

    where: only if the column compares so with the value. The column must never be null.
    """

    id: str
    values: dict[str, Any]
    where: tuple[str, Comparison, Any] | None = None


type Statement = Insert | Update


class Projection(Struct, frozen=True, kw_only=True):
    """Events of the types it handles, made into rows.

    version: raise it whenever `table` or `project` changes; the read model is then rebuilt.
    handles: the only events that `project` is given.
    table: makes the table under the name it is given. Its primary key is the text column `id`,
    its place in lists the unique column `position`.
    project: pure; must not depend on anything but the event.
    """

    name: str
    version: int
    handles: tuple[type[Event], ...]
    table: Callable[[str], sa.Table]
    # Any: each projection matches on the events of its own noun.
    project: Callable[[Recorded[Any]], Iterable[Statement]]

    @property
    def types(self) -> frozenset[str]:
        """The stored types of the events that it handles."""
        return frozenset(each.tag() for each in self.handles)


class Moment(sa.types.TypeDecorator[datetime]):
    """A UTC time: `timestamptz` on PostgreSQL, fixed-width ISO 8601 text on SQLite."""

    impl = sa.String
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Return the database's own type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.DateTime(timezone=True))
        return dialect.type_descriptor(sa.String(32))

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        """Return what makes a parameter of a time; PostgreSQL's driver needs nothing."""
        return None if dialect.name == "postgresql" else super().bind_processor(dialect)

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        """Return what is stored."""
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(
        self,
        value: Any,
        dialect: sa.Dialect,  # noqa: ARG002  # what was stored says it
    ) -> datetime | None:
        """Return what was stored, in UTC."""
        if value is None:
            return None
        return (value if isinstance(value, datetime) else datetime.fromisoformat(value)).astimezone(
            UTC
        )


# Compared byte by byte, as SQLite does: an operator's locale would cost time, and order nothing.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def text(name: str, default: str = "") -> sa.Column[str]:
    """Return a text column that is never null."""
    return sa.Column(name, TEXT, nullable=False, default=default)


def number(name: str, default: int = 0) -> sa.Column[int]:
    """Return a whole-number column that is never null."""
    return sa.Column(name, sa.BigInteger, nullable=False, default=default)


def moment(name: str) -> sa.Column[datetime]:
    """Return a time column; null until it has happened."""
    return sa.Column(name, Moment, nullable=True)


def read_model(name: str, *columns: sa.Column[Any], lists: Iterable[tuple[str, ...]]) -> sa.Table:
    """Return a table with `id`, `position` (where in the log the row began) and `columns`.

    lists: the columns by which lists are narrowed; each gets an index that ends in `position`.
    """
    table = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        *columns,
    )
    for by in lists:
        sa.Index(f"{name}_by_{'_'.join(by)}", *(table.c[column] for column in by), table.c.position)
    return table


def default_of(column: sa.Column[Any]) -> Any:
    """Return what a column has in a row that does not say."""
    default: Any = column.default  # Any: its class has no public name
    return default.arg if default is not None else None


def cut(text: str) -> str:
    """Return the beginning of a text, as lists show it."""
    return text[:MOST_CHARACTERS]
