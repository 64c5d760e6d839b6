"""What we use of asyncpg, with types: it has none of its own that a strict checker can read."""

from collections.abc import Awaitable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]  # see above

from adapters.sockets import keep_alive

_asyncpg = cast("Any", asyncpg)

# Refused by the server.
PostgresError: type[Exception] = _asyncpg.PostgresError
# Not even sent: the connection is gone, or the driver has lost track of it (which it does when the
# server closes it with a word of its own), or the network failed or timed out.
LOST: tuple[type[Exception], ...] = (
    _asyncpg.InterfaceError,
    _asyncpg.InternalClientError,
    OSError,
)

type Values = Sequence[Any]
"""A row, or the values of a statement: whatever the columns hold."""


class Connection(Protocol):
    """A connection. Values are `$1`, `$2`…"""

    async def execute(self, text: str, *values: Any) -> str:
        """Run a statement; return its tag."""
        ...

    async def executemany(self, text: str, values: Sequence[Values]) -> None:
        """Run a statement once for each of the values, in one transaction."""
        ...

    async def fetch(self, text: str, *values: Any) -> Sequence[Values]:
        """Run a statement; return its rows."""
        ...

    async def fetchrow(self, text: str, *values: Any) -> Values | None:
        """Run a statement; return its first row."""
        ...

    async def fetchval(self, text: str, *values: Any) -> Any:
        """Run a statement; return the first value of its first row."""
        ...

    async def copy_records_to_table(
        self, table_name: str, *, records: Iterable[Values], columns: Sequence[str]
    ) -> str:
        """Write rows, faster than by statements; return the tag."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """Commit what is done inside, or nothing."""
        ...

    def is_closed(self) -> bool:
        """Whether it is known to be closed."""
        ...

    def terminate(self) -> None:
        """Drop it without a word to the server."""
        ...

    async def close(self) -> None:
        """End it."""
        ...


class Pool(Protocol):
    """Some connections to the same database."""

    def acquire(self) -> Awaitable[Connection]:
        """Lend one."""
        ...

    async def release(self, connection: Connection) -> None:
        """Take it back."""
        ...

    async def close(self) -> None:
        """End all, when they are back."""
        ...


async def connect(url: str, **options: Any) -> Connection:
    """Connect; the options are asyncpg's."""
    connection = await _asyncpg.connect(url, **options)
    keep_alive(connection._transport.get_extra_info("socket"))  # noqa: SLF001  # no other way
    return connection


async def create_pool(url: str, **options: Any) -> Pool:
    """Connect several times; the options are asyncpg's."""
    return await _asyncpg.create_pool(url, connect=connect, **options)
