"""Following runs and builds: replay from SQL, then what Redis says, and SQL again where that gaps.

One reader a process (`LiveHub.run`) takes the frames of all streams and hands each, encoded once,
to the followers of its stream. A **topic** is one followed stream: it broadcasts versions in order
and without gaps, and reads SQL by itself when a version is missing or after a second of silence.
So nothing is lost or doubled, whatever happens to Redis.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from prometheus_client import Gauge

from domain.decider import Recorded
from domain.errors import Unavailable
from domain.live import TERMINAL, live_view
from domain.ports import EventStore, Frame, LiveStreams

SILENCE_SECONDS = 1.0  # without a frame, before SQL is asked
HEARTBEAT_SECONDS = 15.0
QUEUE_CHUNKS = 1000  # that wait for one slow client; with more it reads SQL
PAGE_EVENTS = 500
LINGER_SECONDS = 60.0  # how long Redis is listened to after the last follower has left

FOLLOWED = Gauge("argosy_live_streams", "Runs and builds that somebody follows.")
FOLLOWERS = Gauge("argosy_live_subscribers", "Clients that follow a run or a build.")

log = structlog.stdlib.get_logger(__name__)


class Chunk(Struct, frozen=True):
    """One SSE frame as bytes. `version` 0: a delta, which is never stored."""

    version: int
    data: bytes
    last: bool = False


HEARTBEAT = Chunk(0, b": still here\n\n")


class _Typed(Struct):
    type: str = "message"


_type_of = msgspec.json.Decoder(_Typed)


def chunk_of(version: int, data: bytes) -> Chunk:
    """Return the SSE frame of a live object; `data` is its JSON."""
    type_ = _type_of.decode(data).type
    id_line = b"id: %d\n" % version if version else b""
    frame = b"%sevent: %s\ndata: %s\n\n" % (id_line, type_.encode(), data)
    return Chunk(version, frame, bool(version) and type_ == TERMINAL)


def stored_chunk(recorded: Recorded[Any]) -> Chunk:
    """Return the SSE frame of a stored event."""
    return chunk_of(recorded.version, msgspec.json.encode(live_view(recorded)))


class Follower:
    """One client's queue. Overflowing drops it all: the client's next read is from SQL."""

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque()
        self._something = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._waits_since = 0.0
        self.overflowed = False
        self.closed = False

    def offer(self, chunk: Chunk) -> None:
        """Queue a chunk."""
        if len(self._chunks) >= QUEUE_CHUNKS:
            self._chunks.clear()
            self.overflowed = True
        self._chunks.append(chunk)
        self._something.set()

    def close(self) -> None:
        """End it; the client may come back and resume."""
        self.closed = True
        self._something.set()

    async def chunks(self, after: int) -> AsyncGenerator[Chunk]:
        """Yield what comes after version `after`, and heartbeats; ends where SQL must be read."""
        try:
            while not (self.closed or self.overflowed):
                if not self._chunks:
                    await self._wait()
                    continue
                chunk = self._chunks.popleft()
                if chunk.version > after + 1:
                    return
                if chunk.version == 0 or chunk.version > after:
                    after = max(after, chunk.version)
                    yield chunk
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    async def _wait(self) -> None:
        """Return when there is something: a heartbeat if nothing else comes for long."""
        loop = asyncio.get_running_loop()
        self._waits_since = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(HEARTBEAT_SECONDS, self._beat)
        self._something.clear()
        await self._something.wait()

    def _beat(self) -> None:
        """Serve many waits with one timer: to set one for each takes longer than all the rest."""
        loop = asyncio.get_running_loop()
        left = self._waits_since + HEARTBEAT_SECONDS - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._beat)
        else:
            self._timer = None
            self.offer(HEARTBEAT)


class Topic:
    """One followed stream. `tip`: the last version broadcast, None before the first."""

    def __init__(self, store: EventStore, stream: str) -> None:
        self._store = store
        self.stream = stream
        self.tip: int | None = None
        self.followers: set[Follower] = set()
        self._behind = asyncio.Event()
        self._heard = 0

    def frame(self, version: int, data: bytes) -> None:
        """Take what Redis said."""
        self._heard += 1
        if version == 0:
            self._send(chunk_of(0, data))
        elif self.tip is None or version == self.tip + 1:
            self._advance(chunk_of(version, data))
        elif version > self.tip:
            self._behind.set()

    async def watch(self) -> None:
        """Read SQL when versions are missing, and after each second of silence; for ever."""
        while True:
            heard = self._heard
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await self._behind.wait()
            except TimeoutError:
                if self._heard != heard:
                    continue
            self._behind.clear()
            await self._catch_up()

    def stopped(self, watch: asyncio.Task[None]) -> None:
        """End the followers when watching broke: their clients resume with another."""
        if not watch.cancelled() and (error := watch.exception()):
            log.error("live.broke", stream=self.stream, exc_info=error)
            for follower in self.followers:
                follower.close()

    async def _catch_up(self) -> None:
        while self.tip is not None:
            try:
                page = await self._store.read(self.stream, after=self.tip, limit=PAGE_EVENTS)
            except Unavailable as error:
                log.warning("live.unavailable", stream=self.stream, error=error.detail)
                return
            for recorded in page:
                if recorded.version == self.tip + 1:
                    self._advance(stored_chunk(recorded))
            if len(page) < PAGE_EVENTS:
                return

    def _advance(self, chunk: Chunk) -> None:
        self.tip = chunk.version
        self._send(chunk)

    def _send(self, chunk: Chunk) -> None:
        for follower in self.followers:
            follower.offer(chunk)


class LiveHub:
    """All that this process follows. `run` must be running while anybody does."""

    def __init__(self, store: EventStore, live: LiveStreams) -> None:
        self._store = store
        self._live = live
        self._topics: dict[str, Topic] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._wanted = asyncio.Event()
        self._left = 0.0
        self.closed = asyncio.Event()

    @property
    def followed(self) -> int:
        """How many streams somebody follows right now."""
        return len(self._topics)

    def followers(self, stream: str) -> int:
        """How many follow one stream."""
        topic = self._topics.get(stream)
        return len(topic.followers) if topic else 0

    async def run(self) -> None:
        """Take frames and hand them on, for ever, while somebody follows anything.

        Frames of a busy server that nobody follows are not worth reading.
        """
        while True:
            await self._wanted.wait()
            async with aclosing(self._live.follow()) as coming:
                async for frames in coming:
                    self.take(frames)
                    await asyncio.sleep(0)  # who waits is served before more is asked for
                    if not self._topics and time.monotonic() - self._left > LINGER_SECONDS:
                        self._wanted.clear()
                        break

    def close(self) -> None:
        """End every follower, so that the server can stop; clients resume elsewhere."""
        self.closed.set()
        for topic in self._topics.values():
            for follower in topic.followers:
                follower.close()

    async def follow(self, stream: str, after: int) -> AsyncGenerator[bytes]:
        """Yield SSE frames of the versions after `after`, deltas and heartbeats.

        Ends after the terminal frame, when the server stops, and when SQL cannot be read; a client
        that has not seen `complete` comes back with `Last-Event-ID`.
        """
        with self._following(stream) as (topic, follower):
            try:
                after = await self._resumable(stream, after)
                while not follower.closed:
                    follower.overflowed = False
                    async for chunk in self._stored(stream, after):
                        yield chunk.data
                        after = chunk.version
                        if chunk.last:
                            return
                    if topic.tip is None:
                        topic.tip = after
                    async for chunk in follower.chunks(after):
                        yield chunk.data
                        after = max(after, chunk.version)
                        if chunk.last:
                            return
            except Unavailable as error:
                log.warning("live.unavailable", stream=stream, error=error.detail)

    async def wait(self, stream: str, seconds: float) -> None:
        """Return when a run or build has ended, when `seconds` are over or the server stops."""
        frames = self.follow(stream, 0)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), aclosing(frames):
                async for _ in frames:
                    pass

    async def _resumable(self, stream: str, after: int) -> int:
        """Return `after`, or less where the stream is not that long or ends there.

        Whoever follows what has ended is told so: the terminal frame comes again.
        """
        newest = await self._store.read(stream, backwards=True, limit=1)
        if not newest:
            return 0
        last = newest[0]
        return min(after, last.version - 1 if stored_chunk(last).last else last.version)

    async def _stored(self, stream: str, after: int) -> AsyncGenerator[Chunk]:
        while page := await self._store.read(stream, after=after, limit=PAGE_EVENTS):
            for recorded in page:
                yield stored_chunk(recorded)
            after = page[-1].version
            if len(page) < PAGE_EVENTS:
                return

    def take(self, frames: list[Frame]) -> None:
        """Hand frames to the topics that somebody follows."""
        for stream, version, data in frames:
            topic = self._topics.get(stream)
            if topic is not None:
                topic.frame(version, data)

    @contextmanager
    def _following(self, stream: str) -> Generator[tuple[Topic, Follower]]:
        topic = self._topics.get(stream)
        if topic is None:
            topic = self._topics[stream] = Topic(self._store, stream)
            watch = asyncio.create_task(topic.watch(), name=f"watch {stream}")
            watch.add_done_callback(topic.stopped)
            self._watches[stream] = watch
            FOLLOWED.inc()
        follower = Follower()
        self._wanted.set()
        topic.followers.add(follower)
        FOLLOWERS.inc()
        if self.closed.is_set():
            follower.close()
        try:
            yield topic, follower
        finally:
            topic.followers.discard(follower)
            FOLLOWERS.dec()
            if not topic.followers:
                FOLLOWED.dec()
                del self._topics[stream]
                self._left = time.monotonic()
                self._watches.pop(stream).cancel()
