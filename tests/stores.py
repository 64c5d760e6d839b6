"""The log on both databases, for whoever tests against it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from adapters.event_store.store import Store, open_store

MASTER_KEY = "a0" * 32  # of every vault in tests


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'log.db'}"
    else:
        yield request.getfixturevalue("postgres_url")


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """An empty log."""
    opened = await open_store(database_url)
    yield opened
    await opened.close()
