"""What we use of asyncpg, with types: it has none of its own that a strict checker can read."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]  # see above

# Refused by the server, or by the driver; OSError, TimeoutError are what a lost network raises.
PostgresError: type[Exception] = asyncpg.PostgresError
InterfaceError: type[Exception] = asyncpg.InterfaceError

type Values = Sequence[Any]
"""A row, or the values of a statement: whatever the columns hold."""


class Statement(Protocol):
    """A prepared statement."""

    async def fetchrow(self, *values: Any) -> Values | None:
        """Run it; return its first row."""
        ...


class Connection(Protocol):
    """A connection. Values are `$1`, `$2`…"""

    async def execute(self, text: str, *values: Any) -> str:
        """Run a statement; return its tag."""
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

    async def prepare(self, text: str) -> Statement:
        """Have the server parse a statement once."""
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


async def connect(url: str, **options: Any) -> Connection:
    """Connect; the options are asyncpg's."""
    connecting = cast("Any", asyncpg).connect
    return await connecting(url, **options)
