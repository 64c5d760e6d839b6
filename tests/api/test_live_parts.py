"""Followers and topics one by one; each is a second line of defence for the other."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from adapters.wiring import Services
from api import live
from api.live import Chunk, Follower, Topic
from domain.entries import MessageSaid
from domain.ids import new_id
from domain.ports import Change, Meta

ME = Meta(actor="worker:test", workspace_id="w", command_id="c")
DATA = b'{"type":"message"}'


def chunk(version: int) -> Chunk:
    return live.chunk_of(version, DATA)


async def versions(follower: Follower, after: int) -> list[int]:
    """Return what a follower yields until it asks for SQL or for more."""
    seen: list[int] = []
    async for each in follower.chunks(after):
        if each is live.HEARTBEAT:
            break
        seen.append(each.version)
    return seen


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.01)


async def test_a_follower_stops_at_a_gap() -> None:
    follower = Follower()
    for version in (1, 2, 5, 6):
        follower.offer(chunk(version))

    assert await versions(follower, 0) == [1, 2]
    assert await versions(follower, 5) == [6]


async def test_a_follower_passes_over_what_was_replayed() -> None:
    follower = Follower()
    for version in (1, 2, 0, 3, 3):
        follower.offer(chunk(version))

    assert await versions(follower, 2) == [0, 3]


async def test_a_follower_that_overflows_asks_for_sql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "QUEUE_CHUNKS", 3)
    follower = Follower()
    for _ in range(4):
        follower.offer(chunk(0))

    assert follower.overflowed
    assert await versions(follower, 0) == []


async def test_a_topic_broadcasts_in_order_or_not_at_all(services: Services) -> None:
    topic = Topic(services.store, "run-x")
    follower = Follower()
    topic.followers.add(follower)

    for version in (4, 5, 8, 5, 7, 6):
        topic.frame(version, DATA)

    assert topic.tip == 6
    assert await versions(follower, 3) == [4, 5, 6]


async def test_a_topic_that_is_behind_catches_up_from_sql(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SILENCE_SECONDS", 60)
    stream = f"run-{new_id()}"
    events = [MessageSaid(text=str(number)) for number in range(8)]
    await services.store.append([Change(stream=stream, events=events)], ME)
    topic = Topic(services.store, stream)
    follower = Follower()
    topic.followers.add(follower)
    topic.tip = 4
    watching = asyncio.create_task(topic.watch())

    topic.frame(8, DATA)
    async with asyncio.timeout(5):
        seen = [each.version async for each in numbered(follower, 4, last=8)]

    watching.cancel()
    assert seen == [5, 6, 7, 8]


async def numbered(follower: Follower, after: int, *, last: int) -> AsyncIterator[Chunk]:
    """Yield chunks that have a version, up to the last that is waited for."""
    async for each in follower.chunks(after):
        if each.version:
            yield each
        if each.version == last:
            return
