"""A log, and read models of both kinds of database."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from adapters.event_store.store import Store, open_store
from projections import generations
from projections.databases import open_database
from projections.reads import ReadModels, open_reads
from projections.rebuilding import Parts
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An empty log."""
    opened = await open_store(f"sqlite:///{tmp_path / 'log.db'}")
    yield opened
    await opened.close()


@pytest.fixture(params=["sqlite", "postgres"])
def read_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database for read models, of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'read.db'}"
    else:
        yield request.getfixturevalue("postgres_url")


@pytest.fixture
async def parts(store: Store, read_url: str) -> AsyncIterator[Parts]:
    """What one process feeds them with."""
    engine = open_database(read_url, writes=True)
    await generations.create_bookkeeping(engine)
    yield Parts(store=store, leases=store.leases, engine=engine, owner="here")
    await engine.dispose()


@pytest.fixture
async def reads(read_url: str) -> AsyncIterator[ReadModels]:
    """What the API reads them with."""
    opened = await open_reads(read_url)
    yield opened
    await opened.close()
