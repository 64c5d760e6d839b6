"""What the tests of this folder share."""

from tests.redis_server import redis_server

__all__ = ["redis_server"]
