"""From an event's commit to its bytes at the subscriber, against plain Redis streams.

Ours: announced after the commit, through a Redis stream to the API, and as a server-sent event over
HTTP. The other sides: with one subscriber, `XADD` and a blocking `XREAD` in two processes, without
any server between; with many subscribers of one run, a server without any framework that sends the
same frames over HTTP and reads Redis once for each subscriber.
"""

import asyncio
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, Protocol

import msgspec
import psutil
import uvloop
from msgspec import Struct

from adapters.announcing import Announcer
from adapters.connections import connect, connect_blocking
from adapters.event_store.store import Store, open_store
from adapters.job_queue import RqQueue
from adapters.live_streams import RedisLiveStreams
from adapters.settings import Settings
from bench.connections import Connection, answers, free_port
from bench.logs import directory
from bench.times import tell
from domain.entries import MessageSaid
from domain.ids import new_id
from domain.ports import Appended, Change, Meta
from tests.redis_server import RedisServer

ROUNDS = 5
SUBSCRIBERS = 500
EVENTS = 40  # of each measurement
WARM_EVENTS = 5  # before them
INTERVAL_SECONDS = 0.1  # at twice the pace the plain server falls behind
AIM_ONE = 1.4
AIM_MANY = 0.33
AIM_CPU = 0.2
SECONDS = 60.0  # for anything to start or to arrive
KEY = "argosy_bench_key_00000000000000000000000000000000000"
DEPLOYMENTS = "/v1/workspaces/default/deployments"
TEXT = "a piece of an answer, of about the length that agents say at once"
ME = Meta(actor="worker:bench", workspace_id="", command_id="bench")


class Heard(Struct, frozen=True):
    """Of one measurement: median seconds from event to subscriber, and the server's CPU seconds."""

    wait: float
    cpu: float


def main() -> int:
    """Print one line for each comparison. Always 0: it only measures."""
    with directory() as place, ExitStack() as stack:
        redis = RedisServer(place)
        stack.callback(redis.stop)
        settings = Settings(data=place / "data", redis=redis.url, port=free_port())
        plain = free_port()
        api = stack.enter_context(_api(settings))
        server = stack.enter_context(_server(plain, "bench.plain_sse", str(plain), redis.url))
        uvloop.run(Bench(settings, api, plain, server).run())
    return 0


class Bench:
    """Publishes in this process; servers and subscribers are others."""

    def __init__(
        self, settings: Settings, api: psutil.Process, plain: int, server: psutil.Process
    ) -> None:
        self._settings = settings
        self._api = api
        self._plain = plain
        self._server = server

    async def run(self) -> None:
        """Measure all sides in turns, and print."""
        one: list[tuple[Heard, Heard]] = []
        many: list[tuple[Heard, Heard]] = []
        for _ in range(ROUNDS):
            one.append((await self._ours(1), await self._bare()))
            many.append((await self._ours(SUBSCRIBERS), await self._each()))
        _tell_waits("live-1", one, AIM_ONE)
        _tell_waits(f"live-{SUBSCRIBERS}", many, AIM_MANY)
        ours, each = zip(*((ours.cpu, each.cpu) for ours, each in many), strict=True)
        tell(f"live-{SUBSCRIBERS}-cpu", ours, each, aim=AIM_CPU)

    async def _ours(self, count: int) -> Heard:
        port = self._settings.port
        with Connection(port, KEY) as client:
            run = client.post(f"{DEPLOYMENTS}/bench/runs", {"message": "hello"})
        path = f"/v1/runs/{run['id']}/events"
        async with _log(self._settings, f"run-{run['id']}") as source:
            return await _measure(source, self._api, "http", port, path, KEY, count)

    async def _each(self) -> Heard:
        async with _redis_stream(self._settings.redis) as source:
            path = f"/{source.stream}"
            return await _measure(source, self._server, "http", self._plain, path, KEY, SUBSCRIBERS)

    async def _bare(self) -> Heard:
        url = self._settings.redis
        async with _redis_stream(url) as source:
            return await _measure(source, self._server, "redis", url, source.stream)


class Source(Protocol):
    """Where events come from, beginning with version 2. `times`: when each of them was."""

    times: list[float]

    async def publish(self, version: int) -> None:
        """Make the next event."""
        ...


class RedisStream:
    """Events that are nothing but items of a Redis stream."""

    def __init__(self, client: Any) -> None:  # Any: redis-py mixes its two kinds of clients
        self.stream = f"bench:{new_id()}"
        self.times: list[float] = []
        self._client = client

    async def publish(self, version: int) -> None:
        """Add an item, and note the time before."""
        self.times.append(time.monotonic())
        data = msgspec.json.encode({"type": "message", "version": version, "content": TEXT})
        await self._client.xadd(self.stream, {b"v": version, b"d": data})


class Log:
    """Events that a run host would append, announced as it does."""

    def __init__(self, store: Store, stream: str) -> None:
        self.times: list[float] = []
        self._store = store
        self._stream = stream

    def committed(self, _: Appended) -> None:
        """Note the time of a commit."""
        self.times.append(time.monotonic())

    async def publish(self, version: int) -> None:
        """Append an entry of a run's transcript."""
        del version  # the log counts by itself
        entry = MessageSaid(text=TEXT)
        await self._store.append([Change(stream=self._stream, events=[entry])], ME)


@asynccontextmanager
async def _redis_stream(url: str) -> AsyncGenerator[RedisStream]:
    client = connect(url)
    source = RedisStream(client)
    await source.publish(1)
    source.times.clear()
    yield source
    await client.aclose()


@asynccontextmanager
async def _log(settings: Settings, stream: str) -> AsyncGenerator[Log]:
    store = await open_store(settings.log_url)
    live = RedisLiveStreams(connect(settings.redis))
    queue = RqQueue(connect_blocking(settings.redis))
    announcer = Announcer(live, queue)
    source = Log(store, stream)
    store.on_commit(source.committed)
    store.on_commit(announcer.committed)
    announcing = asyncio.create_task(announcer.run())
    yield source
    announcing.cancel()
    await asyncio.gather(announcing, return_exceptions=True)
    await queue.close()
    await store.close()
    await live.close()


async def _measure(source: Source, server: psutil.Process, *arguments: object) -> Heard:
    """Publish to subscribers in a process of their own, once all of them listen."""
    last = 1 + WARM_EVENTS + EVENTS
    program = [sys.executable, "-m", "bench.subscribers", *map(str, arguments), str(last)]
    process = await asyncio.create_subprocess_exec(*program, stdout=subprocess.PIPE, limit=1 << 26)
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS + last * INTERVAL_SECONDS):
        ready = await process.stdout.readline()
        assert ready == b'"ready"\n', ready
        before = _cpu_seconds(server)
        for version in range(2, last + 1):
            await source.publish(version)
            await asyncio.sleep(INTERVAL_SECONDS)
        said = await process.stdout.readline()
        cpu = _cpu_seconds(server) - before
        await process.wait()
    came = msgspec.json.decode(said, type=list[list[float]])
    measured = list(zip(source.times, came, strict=True))[WARM_EVENTS:]
    return Heard(statistics.median(at - went for went, each in measured for at in each), cpu)


def _cpu_seconds(process: psutil.Process) -> float:
    """Read the process's CPU clock (clock_getcpuclockid): to the nanosecond, not to the tick."""
    return time.clock_gettime(~process.pid << 3 | 2)


def _tell_waits(name: str, pairs: Sequence[tuple[Heard, Heard]], aim: float) -> None:
    ours, others = zip(*((ours.wait, other.wait) for ours, other in pairs), strict=True)
    tell(name, ours, others, aim=aim)


@contextmanager
def _api(settings: Settings) -> Generator[psutil.Process]:
    """The API alone, with something deployed: runs are requested and nobody takes them."""
    environment = os.environ | {
        "ARGOSY_DATA": str(settings.data),
        "ARGOSY_REDIS": settings.redis,
        "ARGOSY_PORT": str(settings.port),
        "ARGOSY_DEV_API_KEY": KEY,
        "ARGOSY_MASTER_KEY": secrets.token_hex(32),
        "ARGOSY_LOG_LEVEL": "warning",
    }
    bootstrap = [sys.executable, "-m", "api", "bootstrap"]
    subprocess.run(bootstrap, env=environment, stdout=subprocess.DEVNULL, check=True)
    with _server(settings.port, "api", environment=environment) as api:
        with Connection(settings.port, KEY) as client:
            files = {"agent.py": "print('hello')"}
            client.post(DEPLOYMENTS, {"name": "bench", "source": {"files": files}})
        yield api


@contextmanager
def _server(
    port: int, *command: str, environment: dict[str, str] | None = None
) -> Generator[psutil.Process]:
    """A server of this machine, once it takes connections."""
    process = psutil.Popen([sys.executable, "-m", *command], env=environment)
    try:
        deadline = time.monotonic() + SECONDS
        while not answers(port):
            assert process.poll() is None, command
            assert time.monotonic() < deadline, command
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
