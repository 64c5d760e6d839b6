"""The promises of LiveStreams, on fakeredis and on a real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import fakeredis
import pytest

from adapters.connections import connect
from adapters.live_streams import (
    HURRY,
    KEEP_FRAMES,
    KEEP_SECONDS,
    SHARDS,
    RedisLiveStreams,
    shard_key,
)
from domain.ports import Frame
from tests.redis_server import RedisServer, empty

type Open = Callable[[], RedisLiveStreams]


@pytest.fixture
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[list[RedisLiveStreams]]:
    """Everything opened in the test, closed after it."""
    streams: list[RedisLiveStreams] = []
    yield streams
    for each in streams:
        await each.close()


@pytest.fixture(params=["fakeredis", "real"])
def open_live(request: pytest.FixtureRequest, opened: list[RedisLiveStreams]) -> Iterator[Open]:
    """Open clients of one server, as several processes would."""
    if request.param == "fakeredis":
        fake = fakeredis.FakeServer()

        def open_fake() -> RedisLiveStreams:
            opened.append(RedisLiveStreams(fakeredis.FakeAsyncRedis(server=fake)))
            return opened[-1]

        yield open_fake
        return
    server: RedisServer = request.getfixturevalue("redis_server")

    def open_real() -> RedisLiveStreams:
        opened.append(RedisLiveStreams(connect(server.url)))
        return opened[-1]

    yield open_real


async def eventually(true: Callable[[], bool], act: Callable[[], Awaitable[None]]) -> None:
    """Do `act` again and again until `true()`."""
    async with asyncio.timeout(10):
        while not true():
            await act()
            await asyncio.sleep(0.01)


async def nothing() -> None:
    """Only wait."""


class Follower:
    """Collects frames in the background."""

    def __init__(self, live: RedisLiveStreams) -> None:
        self.seen: list[Frame] = []
        self.task = asyncio.create_task(self._run(live))

    @property
    def frames(self) -> list[Frame]:
        """What came, without the probes of `following`."""
        return [frame for frame in self.seen if frame[0] != "run-probe"]

    async def until(self, count: int) -> list[Frame]:
        """Return the frames when there are `count`."""
        await eventually(lambda: len(self.frames) >= count, nothing)
        return self.frames

    async def stop(self) -> None:
        """Stop following."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self, live: RedisLiveStreams) -> None:
        async for frames in live.follow():
            self.seen += frames


async def following(live: RedisLiveStreams) -> Follower:
    """Start to follow, and return when frames arrive."""
    follower = Follower(live)
    probe: list[Frame] = [("run-probe", 0, b"{}")]
    await eventually(lambda: bool(follower.seen), lambda: live.publish(probe))
    return follower


class Listener:
    """Collects wakes in the background."""

    def __init__(self, live: RedisLiveStreams) -> None:
        self.heard: set[int] = set()
        self.task = asyncio.create_task(self._run(live))

    async def until(self, position: int) -> list[int]:
        """Return what was heard, probes aside, when `position` was."""
        await eventually(lambda: position in self.heard, nothing)
        return sorted(self.heard - {1})

    async def stop(self) -> None:
        """Stop listening."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self, live: RedisLiveStreams) -> None:
        async for position in live.wakes():
            self.heard.add(position)


async def listening(live: RedisLiveStreams) -> Listener:
    """Start to listen, and return when wakes arrive."""
    listener = Listener(live)
    await eventually(lambda: 1 in listener.heard, lambda: live.wake(1))
    return listener


async def test_frames_arrive_as_sent_and_in_order_of_their_stream(open_live: Open) -> None:
    reader = await following(open_live())
    sent = [(f"run-{n % 40}", n // 40 + 1, b'{"n":%d}' % n) for n in range(400)]

    writer = open_live()
    for start in range(0, 400, 50):
        await writer.publish(sent[start : start + 50])

    came = await reader.until(400)
    assert sorted(came) == sorted(sent)
    for stream in {frame[0] for frame in sent}:
        assert [f[1] for f in came if f[0] == stream] == list(range(1, 11))
    await reader.stop()


async def test_a_delta_has_version_zero(open_live: Open) -> None:
    live = open_live()
    reader = await following(live)

    await live.publish([("run-1", 0, b'{"type":"delta"}')])

    assert await reader.until(1) == [("run-1", 0, b'{"type":"delta"}')]
    await reader.stop()


async def test_a_follower_sees_nothing_from_before(open_live: Open) -> None:
    live = open_live()
    await live.publish([("run-old", 1, b"{}")])
    await asyncio.sleep(0.002)  # ids are milliseconds

    reader = await following(live)
    await live.publish([("run-old", 2, b"{}")])

    assert await reader.until(1) == [("run-old", 2, b"{}")]
    await reader.stop()


async def test_several_followers_all_see_everything(open_live: Open) -> None:
    readers = [await following(open_live()) for _ in range(3)]

    await open_live().publish([("run-1", 1, b"a"), ("build-1", 1, b"b")])

    for reader in readers:
        assert sorted(await reader.until(2)) == [("build-1", 1, b"b"), ("run-1", 1, b"a")]
        await reader.stop()


async def test_wakes_carry_positions(open_live: Open) -> None:
    live = open_live()
    listener = await listening(open_live())

    await live.wake(7)
    await live.publish([("run-1", 1, b"{}")], position=8)

    assert await listener.until(8) == [7, 8]
    await listener.stop()


async def test_whoever_listens_hears_that_a_list_waits(open_live: Open) -> None:
    listener = await listening(open_live())

    await open_live().publish((), hurry=True)

    assert await listener.until(HURRY) == [HURRY]
    await listener.stop()


async def test_the_streams_are_trimmed(
    redis_server: RedisServer, opened: list[RedisLiveStreams]
) -> None:
    live = RedisLiveStreams(connect(redis_server.url))
    opened.append(live)

    for _ in range(10):
        await live.publish([("run-1", 1, b"x" * 100)] * 500)

    with redis_server.client() as client:
        assert client.xlen(shard_key("run-1")) < 2 * KEEP_FRAMES


def test_streams_are_spread_over_the_shards() -> None:
    assert len({shard_key(f"run-{n}") for n in range(1000)}) == SHARDS


async def test_a_follower_survives_a_server_that_died_and_came_back_empty(
    redis_server: RedisServer, opened: list[RedisLiveStreams]
) -> None:
    live = RedisLiveStreams(connect(redis_server.url))
    opened.append(live)
    reader = await following(live)
    await live.publish([("run-1", 1, b"{}")])
    await reader.until(1)

    redis_server.kill()
    await live.publish([("run-1", 2, b"{}")])  # dropped, and no error of the caller's
    assert not await live.ping()
    redis_server.start()

    again: list[Frame] = [("run-1", 3, b"{}")]
    await eventually(lambda: len(reader.frames) >= 2, lambda: live.publish(again))
    assert reader.frames[1] == ("run-1", 3, b"{}")
    await reader.stop()


async def test_a_follower_survives_the_emptying_of_the_server(
    redis_server: RedisServer, opened: list[RedisLiveStreams]
) -> None:
    live = RedisLiveStreams(connect(redis_server.url))
    opened.append(live)
    reader = await following(live)

    with redis_server.client() as client:
        empty(client)
    await live.publish([("run-1", 1, b"{}")])

    assert await reader.until(1) == [("run-1", 1, b"{}")]
    await reader.stop()


async def test_wakes_go_on_after_the_server_came_back(
    redis_server: RedisServer, opened: list[RedisLiveStreams]
) -> None:
    live = RedisLiveStreams(connect(redis_server.url))
    opened.append(live)
    listener = await listening(live)

    redis_server.kill()
    redis_server.start()

    await eventually(lambda: 9 in listener.heard, lambda: live.wake(9))
    await listener.stop()


async def test_a_server_that_is_away_costs_publishers_almost_nothing(
    redis_server: RedisServer, opened: list[RedisLiveStreams]
) -> None:
    live = RedisLiveStreams(connect(redis_server.url))
    opened.append(live)
    redis_server.stop()
    loop = asyncio.get_running_loop()

    start = loop.time()
    for _ in range(1000):
        await live.publish([("run-1", 1, b"{}")])

    assert loop.time() - start < 1.0


async def test_an_idle_server_empties_itself(redis_server: RedisServer) -> None:
    client = redis_server.client()
    empty(client)
    live = RedisLiveStreams(connect(redis_server.url))
    key = shard_key("run-1")

    await live.publish([("run-1", 1, b"{}")])
    assert 0 < client.ttl(key) <= KEEP_SECONDS
    client.expire(key, 5)
    await live.publish([("run-1", 2, b"{}")])
    assert client.ttl(key) > 5, "a frame gives it all of the time"

    client.pexpire(key, 1)
    await eventually(lambda: not client.exists(key), nothing)
    await live.close()
    client.close()
