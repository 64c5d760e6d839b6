"""What happens in runs and builds, as it happens, through Redis streams. Hints: SQL has the truth.

Each frame goes to one of 16 trimmed streams, by its run or build, so that a process follows all of
them with one blocking read. They go when they are idle. Growth of the log is a pub/sub message.
"""

import asyncio
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import structlog
from prometheus_client import Gauge
from redis import asyncio as aioredis

from adapters.connections import DOWN, Line
from domain.ports import Frame

SHARDS = 16
SHARD_KEYS = tuple(f"live:{shard}" for shard in range(SHARDS))
WAKE_CHANNEL = "live:log"
HURRY = 0  # said there instead of a position

# A follower that is further behind than this reads SQL. Memory: SHARDS * KEEP_FRAMES frames.
KEEP_FRAMES = 1024
KEEP_SECONDS = 3600  # after its last frame a stream goes; every new one gives it all of this
READ_FRAMES = 256  # of one shard at a time
BLOCK_MILLISECONDS = 5_000
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0

REDIS_UP = Gauge("argosy_redis_up", "0 while Redis does not answer this part.", ["part"])

log = structlog.stdlib.get_logger(__name__)


def shard_key(stream: str) -> str:
    """Return the key of the Redis stream that carries a run's or build's frames."""
    return SHARD_KEYS[zlib.crc32(stream.encode()) % SHARDS]


class Weather:
    """Whether the server can be reached: says so once when it changes, and how long to wait."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._up = REDIS_UP.labels(part)
        self._up.set(1)
        self._pause = 0.0
        self._until = 0.0

    @property
    def storm(self) -> bool:
        """Whether trying now would be too early."""
        return time.monotonic() < self._until

    def fine(self) -> None:
        """Note that it answered."""
        if self._pause:
            log.info("redis.back", part=self._part)
        self._up.set(1)
        self._pause = self._until = 0.0

    def broke(self, error: Exception) -> float:
        """Note that it did not; returns the seconds to wait before the next try."""
        if not self._pause:
            log.warning("redis.lost", part=self._part, error=str(error))
            self._up.set(0)
        self._pause = min(max(self._pause * 2, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        self._until = time.monotonic() + self._pause
        return self._pause


class RedisLiveStreams:
    """LiveStreams over Redis. Survives restarts and emptying of the server by itself."""

    def __init__(self, client: aioredis.Redis) -> None:
        # Any: redis-py's types mix the blocking and the asyncio client, and leave replies open.
        self._client: Any = client
        self._publishing = Weather("live.publish")
        self._publisher = Line(client)
        self._turn = asyncio.Lock()

    async def publish(
        self,
        frames: Sequence[Frame],
        *,
        position: int = 0,
        hurry: bool = False,
        before: Sequence[tuple[Any, ...]] = (),
    ) -> None:
        """Send frames, and that the log has grown to `position` (0: it has not), at one go.

        hurry: a list waits for the read models.
        before: other hints, as commands, that go first.
        While the server cannot be reached all are dropped: followers find the gap and read SQL.
        """
        if self._publishing.storm or not (frames or position or hurry or before):
            return
        trimmed = ("MAXLEN", "~", KEEP_FRAMES)
        commands: list[tuple[Any, ...]] = list(before)
        commands += [
            ("XADD", shard_key(stream), *trimmed, "*", "s", stream, "v", version, "d", data)
            for stream, version, data in frames
        ]
        keys = sorted({shard_key(stream) for stream, _, _ in frames})
        commands += [("EXPIRE", key, KEEP_SECONDS) for key in keys]
        if position:
            commands.append(("PUBLISH", WAKE_CHANNEL, position))
        if hurry:
            commands.append(("PUBLISH", WAKE_CHANNEL, HURRY))
        try:
            async with self._turn:
                await self._publisher.ask(*commands)
        except DOWN as error:
            self._publishing.broke(error)
        else:
            self._publishing.fine()

    async def wake(self, position: int) -> None:
        """Say that the log has grown."""
        await self.publish((), position=position)

    async def follow(self) -> AsyncGenerator[list[Frame]]:
        """Yield the frames of all streams from now on; one reader a process fans them out.

        What was published while the server was away or this reader was further behind than the
        streams are long is missing; versions show it.
        """
        weather = Weather("live.follow")
        line = Line(self._client)
        last: dict[str, bytes] = {}
        fresh = True
        try:
            while True:
                try:
                    if fresh:
                        last = await _start(line, last)
                        fresh = False
                    reply = await _read(line, last)
                except DOWN as error:
                    fresh = True
                    await asyncio.sleep(weather.broke(error))
                    continue
                weather.fine()
                frames = [_frame(fields) for _, entries in reply for _, fields in entries]
                for key, entries in reply:
                    last[key.decode()] = entries[-1][0]
                if frames:
                    yield frames
        finally:
            await line.close()

    async def wakes(self) -> AsyncIterator[int]:
        """Yield positions as they are said, and HURRY where a list waits; may miss some."""
        weather = Weather("live.wakes")
        while True:
            try:
                async with aclosing(Line(self._client).listen(WAKE_CHANNEL)) as heard:
                    async for position in heard:
                        weather.fine()
                        if position is not None:
                            yield int(position)
            except DOWN as error:
                await asyncio.sleep(weather.broke(error))

    async def ping(self) -> bool:
        """Whether the server answers now."""
        try:
            return bool(await self._client.ping())
        except DOWN:
            return False

    async def close(self) -> None:
        """Let go of the connections."""
        await self._publisher.close()
        await self._client.aclose()


type Shards = list[tuple[bytes, list[tuple[bytes, list[bytes]]]]]
"""By shard, new items: their ids, and names and values of their fields in turns."""


async def _start(line: Line, last: dict[str, bytes]) -> dict[str, bytes]:
    """Return where to read on: from what was read last, or from the server's time.

    A server whose clock is behind what was read last gives out smaller ids again.
    """
    [(seconds, microseconds)] = await line.ask(("TIME",))
    now = int(seconds) * 1000 + int(microseconds) // 1000
    start = b"%d-0" % now
    return {
        key: last[key] if key in last and int(last[key].split(b"-")[0]) <= now else start
        for key in SHARD_KEYS
    }


async def _read(line: Line, last: dict[str, bytes]) -> Shards:
    limits = ("COUNT", READ_FRAMES, "BLOCK", BLOCK_MILLISECONDS)
    [found] = await line.ask(("XREAD", *limits, "STREAMS", *last.keys(), *last.values()))
    if hasattr(found, "items"):  # where the connection speaks RESP 3, as fakeredis does
        found = found.items()
    return list(found or ())


def _frame(fields: list[bytes]) -> Frame:
    given = dict(zip(fields[::2], fields[1::2], strict=True))
    return given[b"s"].decode(), int(given[b"v"]), given[b"d"]
