"""Connections to the Redis-compatible server, with the timeouts that every process here uses."""

import redis
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

# A blocked read ends by itself well before this; anything that takes longer is a dead peer.
SOCKET_SECONDS = 15.0
CONNECT_SECONDS = 2.0

# RESP 2 is what every server and fakeredis answers alike. One retry at once covers a connection
# that died in the pool; waiting and trying again is each caller's own business.
PROTOCOL = 2

# What a server that is down, restarting or not yet loaded raises. redis-py's own ConnectionError
# and TimeoutError are not the built-in ones.
DOWN = (redis.RedisError, OSError)


def connect(url: str) -> aioredis.Redis:
    """Return a client of the URL (`redis://`, `rediss://`, `unix://`). Does not connect yet."""
    return aioredis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]  # untyped kwargs
        url,
        protocol=PROTOCOL,
        socket_timeout=SOCKET_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=AsyncRetry(NoBackoff(), 1),
    )


def connect_blocking(url: str) -> redis.Redis:
    """As `connect`, for RQ, which knows no asyncio."""
    return redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]  # untyped kwargs
        url,
        protocol=PROTOCOL,
        socket_timeout=SOCKET_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 1),
    )
