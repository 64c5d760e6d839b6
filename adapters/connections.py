"""Connections to the Redis-compatible server, with the timeouts that every process here uses."""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import redis
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from adapters.sockets import KEEPALIVE

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
        **_keep_alive(url),
    )


def connect_blocking(url: str) -> redis.Redis:
    """As `connect`, for RQ, which knows no asyncio."""
    return redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]  # untyped kwargs
        url,
        protocol=PROTOCOL,
        socket_timeout=SOCKET_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 1),
        **_keep_alive(url),
    )


def _keep_alive(url: str) -> dict[str, Any]:
    """Return what notices a server that has vanished: a subscriber would wait for it for ever."""
    if url.startswith("unix:"):
        return {}
    return {"socket_keepalive": True, "socket_keepalive_options": KEEPALIVE}


class Line:
    """One connection for one task: commands go out together, and their replies come in order.

    Half the work of a client, which for each command asks a pool, makes sure of what it got, and
    sets several timers. A connection that died meanwhile is replaced at once.
    """

    def __init__(self, client: aioredis.Redis) -> None:
        # Any: redis-py's types leave commands and replies open.
        self._pool: Any = client.connection_pool
        self._connection: Any = None

    async def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands and return their raw replies. Raises what DOWN names."""
        old = self._connection is not None
        try:
            return await self._ask(commands)
        except DOWN:
            if not old:
                raise
        return await self._ask(commands)

    async def listen(self, channel: str) -> AsyncGenerator[bytes | None]:
        """Yield None once it listens, then what is published on a channel from then on.

        Raises what DOWN names.
        """
        try:
            connection = await self._connected()
            await connection.send_command("SUBSCRIBE", channel, check_health=False)
            while True:
                reply = await connection.read_response(timeout=math.inf)
                if reply is None:  # redis-py takes the kernel's timeout for its own
                    raise ConnectionResetError("the server has vanished")
                kind, _, data = reply
                yield data if kind == b"message" else None
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.disconnect(nowait=True)

    async def _ask(self, commands: tuple[tuple[Any, ...], ...]) -> list[Any]:
        try:
            async with asyncio.timeout(SOCKET_SECONDS):
                connection = await self._connected()
                await connection.send_packed_command([packed(commands)], check_health=False)
                return [await connection.read_response() for _ in commands]
        except BaseException:
            # Whatever it was, the next reply could be one to these commands.
            await self.close()
            raise

    async def _connected(self) -> Any:
        if self._connection is None:
            options = self._pool.connection_kwargs | {"socket_timeout": None}  # `_ask` has its own
            self._connection = self._pool.connection_class(**options)
        await self._connection.connect()
        return self._connection


def packed(commands: Sequence[Sequence[bytes | str | int]]) -> bytes:
    """Return commands as they go over the wire (RESP), in a fifth of redis-py's time."""
    pieces: list[bytes] = []
    for command in commands:
        pieces.append(b"*%d\r\n" % len(command))
        for word in command:
            if isinstance(word, str):
                data = word.encode()
            else:
                data = word if isinstance(word, bytes) else b"%d" % word
            pieces.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(pieces)
