"""Processes hear of each other's appends, and none of them needs Redis to start or to append."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import msgspec
import pytest

from adapters.settings import Settings
from adapters.wiring import Services, open_services
from domain.entries import MessageSaid
from domain.ids import new_id
from domain.ports import Change, Frame, Meta
from domain.runs import RunRequested
from domain.workspaces import WorkspaceCreated
from tests.redis_server import RedisServer, redis_server

__all__ = ["redis_server"]


@pytest.fixture
async def two(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Services, Services]]:
    """Two processes' services on one installation."""
    settings = Settings(data=tmp_path_factory.mktemp("data"), redis=redis_server.url)
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(open_services(settings, name="one")),
            await stack.enter_async_context(open_services(settings, name="two")),
        )


def meta() -> Meta:
    return Meta(actor="key:test", workspace_id="w", command_id=new_id())


def requested(id: str) -> RunRequested:
    return RunRequested(
        run_id=id,
        workspace_id="w",
        agent_id="a",
        agent_name="echo",
        deployment_id="d",
        slug="echo",
        revision=1,
        message="hello",
    )


async def test_what_one_appends_the_other_sees_live(two: tuple[Services, Services]) -> None:
    one, other = two
    frames: list[Frame] = []

    async def follow() -> None:
        async for some in other.live.follow():
            frames.extend(some)

    task = asyncio.create_task(follow())
    created = WorkspaceCreated(workspace_id="w", organization_id="o", slug="s", name="n")
    async with asyncio.timeout(10):
        while not frames:  # until it follows
            probe = Change(stream=f"run-{new_id()}", events=[MessageSaid(text="probe")])
            await one.store.append([probe], meta())
            await asyncio.sleep(0.01)
        changes = [
            Change(stream="workspace-w", events=[created]),
            Change(stream="run-1", events=[requested("1"), MessageSaid(text="hi")]),
            Change(stream="run-1", events=[MessageSaid(text="ho")]),
        ]
        await one.store.append(changes, meta())
        while sum(frame[0] == "run-1" for frame in frames) < 3:  # noqa: ASYNC110 - a server's work
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    mine = [(version, msgspec.json.decode(data)) for s, version, data in frames if s == "run-1"]
    assert [version for version, _ in mine] == [1, 2, 3]
    assert [body["type"] for _, body in mine] == ["status", "message", "message"]
    assert [body["version"] for _, body in mine] == [1, 2, 3]
    assert not [frame for frame in frames if frame[0] == "workspace-w"]


async def test_what_one_appends_wakes_the_other(two: tuple[Services, Services]) -> None:
    one, other = two
    took: list[float] = []
    follower = other.store.follow(after=0)
    for n in range(10):
        pending = asyncio.ensure_future(anext(follower))
        await asyncio.sleep(0.05)
        start = time.monotonic()
        await one.store.append([Change(stream=f"run-{n}", events=[requested(str(n))])], meta())
        await asyncio.wait_for(pending, 10)
        took.append(time.monotonic() - start)

    assert sorted(took)[5] < 0.25  # a poll would take up to a second


async def test_a_list_that_waits_in_one_hurries_who_gathers_in_the_other(
    two: tuple[Services, Services],
) -> None:
    one, other = two
    await one.store.append([Change(stream="run-0", events=[requested("0")])], meta())
    async with aclosing(other.store.follow(after=0, gather=60, hurried=True)) as follower:
        await anext(follower)
        pending = asyncio.ensure_future(anext(follower))
        await one.store.append([Change(stream="run-1", events=[requested("1")])], meta())
        async with asyncio.timeout(20):
            while not pending.done():
                one.hurry()
                await asyncio.sleep(0.01)

    assert [recorded.stream for recorded in await pending] == ["run-1"]


async def test_nothing_needs_redis(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = Settings(data=tmp_path_factory.mktemp("data"), redis="redis://127.0.0.1:1/0")
    async with open_services(settings, name="alone") as services:
        start = time.monotonic()
        for n in range(50):
            change = Change(stream=f"run-{n}", events=[requested(str(n))])
            await services.store.append([change], meta())
        assert time.monotonic() - start < 3
        assert await services.store.head() == 50
        assert not await services.live.ping()


async def test_what_is_appended_last_is_still_announced(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = Settings(data=tmp_path_factory.mktemp("data"), redis=redis_server.url)
    async with open_services(settings, name="short") as services:
        await services.live.ping()
        await services.store.append([Change(stream="run-1", events=[requested("1")])], meta())

    with redis_server.client() as client:
        keys = client.keys("live:*")  # pyright: ignore[reportUnknownMemberType]  # untyped kwargs
    assert len(keys) == 1
