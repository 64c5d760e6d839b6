"""What the store needs of a database; `sqlite.py` and `postgres.py` are the two there are."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from adapters.event_store.append import Head, Item
from adapters.event_store.scripts import Rows, Script
from domain.ports import Appended

type OnCommit = Callable[[Appended], None]
"""Told on the loop of every append, after its commit."""


class Database(Protocol):
    """All raise Unavailable when the database cannot be reached or written."""

    def submit(self, item: Item) -> None:
        """Take an append into the next batch; its outcome is set on `item.answered`."""
        ...

    def remember(self, stream: str, head: Head) -> None:
        """Note where a stream was seen to stand; may save asking for it."""
        ...

    async def transact[T](self, script: Script[T]) -> T:
        """Run a script in one transaction."""
        ...

    async def fetch(self, text: str, values: Sequence[Any]) -> Rows:
        """Return the rows of one reading statement, as of one moment."""
        ...

    async def close(self) -> None:
        """Commit what was accepted, then let go."""
        ...
