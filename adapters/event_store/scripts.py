"""Small transactions written once for both databases, apart from the append itself.

A script is a generator: it yields a statement with its values and is given the rows. Values are
`$1`, `$2`…; `now_us()` is the time in microseconds, the database's own on PostgreSQL. SQLite has
one writer at a time, and needs no `FOR UPDATE`.
"""

import time
from collections.abc import Generator, Sequence
from functools import cache
from typing import Any

type Statement = tuple[str, Sequence[Any]]
"""SQL and its values, which are whatever the column holds."""

type Rows = Sequence[Sequence[Any]]
"""What a statement returned: rows of whatever the columns hold."""

type Script[T] = Generator[Statement, Rows, T]

POSTGRES_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


@cache
def for_sqlite(text: str) -> str:
    """Return a statement as SQLite wants it; `now_us` is a function of the connection."""
    return text.replace("$", "?").replace(" FOR UPDATE", "")


@cache
def for_postgres(text: str) -> str:
    """Return a statement as PostgreSQL wants it."""
    return text.replace("now_us()", POSTGRES_NOW)


def now_us() -> int:
    """Return this machine's time in microseconds since 1970."""
    return time.time_ns() // 1000
