"""What the tests of this folder share."""

from tests.postgres import postgres_server, postgres_url
from tests.redis_server import redis_server
from tests.stores import database_url, store

__all__ = ["database_url", "postgres_server", "postgres_url", "redis_server", "store"]
