"""What the tests of this folder share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from adapters.settings import Settings
from tests.postgres import postgres_server, postgres_url
from tests.redis_server import RedisServer, redis_server
from tests.workers.benches import NOWHERE
from tests.workers.builds import Builder, local, open_directory, the_driver
from tests.workers.packages import Index, make_wheel, serve
from tests.workers.worlds import World, make_settings, open_world

__all__ = ["postgres_server", "postgres_url", "redis_server"]


@pytest.fixture
def settings(redis_server: RedisServer) -> Iterator[Settings]:
    """An installation with a Redis server of its own."""
    with make_settings(redis_server.url) as made:
        yield made


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    """A client's side of it."""
    async with open_world(settings) as opened:
        yield opened


@pytest.fixture
async def quiet_world() -> AsyncIterator[World]:
    """An installation without Redis."""
    with make_settings(NOWHERE) as made:
        async with open_world(made) as opened:
            yield opened


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where a builder keeps everything, which every uid can reach."""
    with open_directory() as path:
        yield path


@pytest.fixture
def index(directory: Path) -> Iterator[Index]:
    """A package index with `good` 1.0, and whatever the test puts beside it."""
    make_wheel(directory / "index", "good", "1.0")
    with serve(Index(directory / "index")) as served:
        yield served


@pytest.fixture
def builder(directory: Path, index: Index) -> Builder:
    """A builder that takes packages from there."""
    return Builder(directory, the_driver(), local(index))
