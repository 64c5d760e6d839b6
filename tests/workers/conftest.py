"""What the tests of this folder share."""

from collections.abc import AsyncIterator, Iterator

import pytest

from adapters.settings import Settings
from tests.postgres import postgres_server, postgres_url
from tests.redis_server import RedisServer, redis_server
from tests.workers.benches import NOWHERE
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
