"""Following: nothing is lost or doubled, one terminal frame, and nothing stays behind."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from api import live
from api.calls import Shared
from domain.entries import MessageSaid
from domain.runs import RunClaimed, RunEnded
from tests.api.conftest import KEY, Api

HEADERS = {"Authorization": f"Bearer {KEY}", "Accept": "text/event-stream"}


class Frame(msgspec.Struct):
    """One server-sent event."""

    id: int | None = None
    event: str = ""
    data: dict[str, Any] = {}


async def frames(answer: httpx.Response) -> AsyncIterator[Frame]:
    """Parse a stream."""
    frame = Frame()
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        match name:
            case "id":
                frame.id = int(value)
            case "event":
                frame.event = value
            case "data":
                frame.data = msgspec.json.decode(value)
            case "" if not line and frame.event:
                yield frame
                frame = Frame()
            case _:
                pass


async def followed(
    api: Api, path: str, *, after: int = 0, stop_at: int | None = None
) -> list[Frame]:
    """Follow until the server closes, or until version `stop_at` came."""
    headers = HEADERS | ({"Last-Event-ID": str(after)} if after else {})
    seen: list[Frame] = []
    async with asyncio.timeout(20), api.client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for frame in frames(answer):
            seen.append(frame)
            if frame.id is not None and frame.id == stop_at:
                break
    return seen


async def started_run(api: Api) -> str:
    """Request a run and have it claimed; returns its id."""
    await api.deploy()
    run = await api.request_run()
    claimed = RunClaimed(run_id=run["id"], attempt=1, worker="w")
    await api.append(f"run-{run['id']}", claimed, workspace_id=run["workspace_id"])
    return run["id"]


async def say(api: Api, id: str, *texts: str) -> None:
    workspace = await api.workspace_id()
    for text in texts:
        await api.append(f"run-{id}", MessageSaid(text=text), workspace_id=workspace)


async def end(api: Api, id: str) -> None:
    await api.append(f"run-{id}", RunEnded(run_id=id, how="completed", attempt=1, output="x"))


def hub_of(api: Api) -> live.LiveHub:
    shared: Shared = api.app.state.shared
    return shared.hub


async def until(true: Any, seconds: float = 5.0) -> None:
    """Wait for a condition that another task brings about."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.01)


async def test_a_run_is_followed_from_its_first_event_to_its_last(served: Api) -> None:
    id = await started_run(served)
    following = asyncio.create_task(followed(served, f"/v1/runs/{id}/events"))
    await until(lambda: hub_of(served).followed == 1)

    await say(served, id, "one", "two", "three")
    await end(served, id)
    seen = await following

    assert [frame.id for frame in seen] == [1, 2, 3, 4, 5, 6]
    assert [frame.event for frame in seen] == ["status"] * 2 + ["message"] * 3 + ["complete"]
    assert [frame.data["version"] for frame in seen] == [1, 2, 3, 4, 5, 6]
    await until(lambda: hub_of(served).followed == 0)


async def test_a_follower_of_an_ended_run_is_told_so(served: Api) -> None:
    id = await started_run(served)
    await say(served, id, "one")
    await end(served, id)
    path = f"/v1/runs/{id}/events"

    whole = await followed(served, path)
    tail = await followed(served, path, after=3)
    beyond = await followed(served, path, after=1000)

    assert [frame.id for frame in whole] == [1, 2, 3, 4]
    assert [frame.id for frame in tail] == [4]
    assert [(frame.id, frame.event) for frame in beyond] == [(4, "complete")]


async def test_reconnecting_misses_and_doubles_nothing(served: Api) -> None:
    id = await started_run(served)
    path = f"/v1/runs/{id}/events"
    versions: list[int] = []

    async def reader() -> None:
        for stop_at in (5, 9, 14, None):
            after = versions[-1] if versions else 0
            for frame in await followed(served, path, after=after, stop_at=stop_at):
                assert frame.id is not None
                versions.append(frame.id)

    reading = asyncio.create_task(reader())
    await say(served, id, *(f"line {number}" for number in range(20)))
    await end(served, id)
    await reading

    assert versions == list(range(1, 24))


async def test_what_redis_lost_is_read_from_sql(
    served: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No frame reaches this process at all, as if Redis were gone."""
    id = await started_run(served)

    def nothing(_: list[Frame]) -> None:
        pass

    monkeypatch.setattr(hub_of(served), "take", nothing)
    following = asyncio.create_task(followed(served, f"/v1/runs/{id}/events"))
    await until(lambda: hub_of(served).followed == 1)

    await say(served, id, "one", "two")
    await end(served, id)
    seen = await following

    assert [frame.id for frame in seen] == [1, 2, 3, 4, 5]


async def test_frames_that_come_twice_or_late_are_sorted_out(served: Api) -> None:
    id = await started_run(served)
    hub = hub_of(served)
    following = asyncio.create_task(followed(served, f"/v1/runs/{id}/events"))
    await until(lambda: hub.followed == 1)

    await say(served, id, "one", "two")
    stored = await served.services.store.read(f"run-{id}")
    again = [
        (each.stream, each.version, msgspec.json.encode({"type": "message"})) for each in stored
    ]
    hub.take(list(reversed(again)))
    hub.take(again)
    await say(served, id, "three")
    await end(served, id)
    seen = await following

    assert [frame.id for frame in seen] == [1, 2, 3, 4, 5, 6]


async def test_deltas_pass_through_without_an_id(served: Api) -> None:
    id = await started_run(served)
    following = asyncio.create_task(followed(served, f"/v1/runs/{id}/events"))
    await until(lambda: hub_of(served).followed == 1)
    delta = msgspec.json.encode({"type": "delta", "content": "hel"})

    async with asyncio.timeout(5):
        await served.services.live.publish([(f"run-{id}", 0, delta)])
    await asyncio.sleep(0.1)
    await end(served, id)
    seen = await following

    assert [frame.id for frame in seen] == [1, 2, None, 3]
    assert seen[2].event == "delta"
    assert seen[2].data["content"] == "hel"


async def test_a_slow_follower_reads_on_from_sql(
    served: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "QUEUE_CHUNKS", 5)
    id = await started_run(served)
    hub = hub_of(served)
    follow = hub.follow(f"run-{id}", 0)
    first = await anext(follow)

    # Nobody takes from the queue while this happens.
    await say(served, id, *(f"line {number}" for number in range(30)))
    await end(served, id)
    rest = [chunk async for chunk in follow]

    ids = [int(chunk.split(b"\n")[0].removeprefix(b"id: ")) for chunk in (first, *rest)]
    assert ids == list(range(1, 34))


async def test_a_client_that_leaves_frees_everything(served: Api) -> None:
    id = await started_run(served)
    hub = hub_of(served)
    for _ in range(3):
        await followed(served, f"/v1/runs/{id}/events", stop_at=2)

    await until(lambda: hub.followed == 0)

    tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith("watch")]
    await until(lambda: all(task.done() for task in tasks))


async def test_a_silent_stream_has_heartbeats(served: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.05)
    id = await started_run(served)
    path = f"/v1/runs/{id}/events"
    async with asyncio.timeout(10), served.client.stream("GET", path, headers=HEADERS) as answer:
        beats = [line async for line in _first_beats(answer)]

    assert beats == [": still here"] * 3


async def _first_beats(answer: httpx.Response) -> AsyncIterator[str]:
    left = 3
    async for line in answer.aiter_lines():
        if line.startswith(":"):
            yield line
            left -= 1
        if not left:
            return


async def test_a_server_that_stops_ends_its_streams(served: Api) -> None:
    id = await started_run(served)
    following = asyncio.create_task(followed(served, f"/v1/runs/{id}/events"))
    log = asyncio.create_task(followed(served, "/v1/events"))
    await until(lambda: hub_of(served).followed == 1)

    hub_of(served).close()
    seen = await following
    await log

    assert all(frame.event != "complete" for frame in seen)


async def test_many_followers_of_one_run_see_the_same(served: Api) -> None:
    id = await started_run(served)
    hub = hub_of(served)
    async with httpx.AsyncClient(
        base_url=served.client.base_url, limits=httpx.Limits(max_connections=100)
    ) as client:
        many = Api(served.services, served.app, client, served.first)
        following = [
            asyncio.create_task(followed(many, f"/v1/runs/{id}/events")) for _ in range(50)
        ]
        await until(lambda: hub.followers(f"run-{id}") == 50, seconds=15)
        await say(served, id, *(f"line {number}" for number in range(10)))
        await end(served, id)
        seen = await asyncio.gather(*following)

    assert {tuple(frame.id for frame in each) for each in seen} == {tuple(range(1, 14))}


async def test_the_log_is_followed_live(served: Api) -> None:
    head = await served.services.store.head()
    following = asyncio.create_task(
        followed(served, f"/v1/events?after={head}&type=run.requested", stop_at=head + 7)
    )
    await served.deploy()
    run = await served.request_run()

    [frame] = await following

    assert frame.event == "run.requested"
    assert frame.data["data"]["run_id"] == run["id"]
    assert frame.data["position"] == frame.id
