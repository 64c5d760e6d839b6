"""A transcript reaches the log in order, once, in batches, anchored; and never grows too large."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from domain.entries import MessageSaid
from domain.errors import Fenced, Unavailable
from domain.handling import Unit
from domain.ids import stream_name
from domain.merkle import Frontier, entry_leaf
from domain.ports import Appended, Change, EventStore, Meta, StreamHead
from domain.runs import RUN, AnchorRun, RunAnchored
from tests.workers.worlds import World
from workers import transcripts
from workers.claims import claim_run
from workers.histories import History, read_history
from workers.transcripts import ANCHOR_EVERY, Transcript


class Unlucky:
    """The real store, whose answers get lost: before or after the append happened."""

    def __init__(self, store: EventStore, *, lost: Sequence[str]) -> None:
        self._store = store
        self._lost = list(lost)
        self.appends = 0

    async def append(self, changes: Sequence[Change], meta: Meta) -> Appended:
        self.appends += 1
        fate = self._lost.pop(0) if self._lost else ""
        if fate == "before":
            raise Unavailable("away")
        appended = await self._store.append(changes, meta)
        if fate == "after":
            raise Unavailable("away")
        return appended

    async def read(self, stream: str, **options: Any) -> Any:
        return await self._store.read(stream, **options)

    async def load(self, stream: str) -> StreamHead:
        return await self._store.load(stream)


async def claimed(world: World) -> tuple[str, str]:
    """Return a run that attempt 1 of somebody holds: its id and stream."""
    await world.deploy()
    run_id = await world.request()
    claim = await claim_run(world.services, run_id, "somebody")
    assert claim is not None
    return run_id, claim.stream


def said(count: int, start: int = 0) -> list[MessageSaid]:
    return [MessageSaid(text=f"line {n}") for n in range(start, start + count)]


def transcript_of(
    world: World, run_id: str, store: Any = None, attempt: int = 1, history: History | None = None
) -> Transcript:
    async def anchor(unit: Unit, frontier: Frontier) -> None:
        command = AnchorRun(run_id=run_id, entries=frontier.count, entries_root=frontier.root())
        await unit.decide(RUN, run_id, command, attempt=attempt)

    return Transcript(
        store or world.services.store,
        stream_name("run", run_id),
        attempt=attempt,
        history=history or History(),
        meta=world.meta,
        anchor=anchor,
    )


async def stored(world: World, stream: str) -> list[Any]:
    history = await world.services.store.read(stream, limit=100_000)
    return [each for each in history if each.position is None]


def root_of(entries: Sequence[Any]) -> str:
    frontier = Frontier()
    for each in entries:
        frontier = frontier.add(entry_leaf(each.version, each.type, each.data))
    return frontier.root()


async def test_entries_are_stored_in_order_with_their_root(quiet_world: World) -> None:
    run_id, stream = await claimed(quiet_world)

    async with transcript_of(quiet_world, run_id) as transcript:
        for start in range(0, 300, 10):
            transcript.add(said(10, start))
        await transcript.flush()

    entries = await stored(quiet_world, stream)
    assert [each.event.text for each in entries] == [f"line {n}" for n in range(300)]
    assert transcript.frontier.count == 300
    assert transcript.frontier.root() == root_of(entries)


async def test_the_first_entry_is_stored_at_once_and_later_ones_in_batches(
    quiet_world: World,
) -> None:
    run_id, stream = await claimed(quiet_world)
    store = Unlucky(quiet_world.services.store, lost=[])

    async with transcript_of(quiet_world, run_id, store) as transcript:
        start = time.monotonic()
        transcript.add(said(1))
        await transcript.flush()
        first = time.monotonic() - start
        for n in range(200):
            transcript.add(said(1, n))
            await asyncio.sleep(0.001)
        await transcript.flush()

    assert first < 0.05
    assert store.appends < 30
    assert len(await stored(quiet_world, stream)) == 201


async def test_whoever_waits_for_an_entry_waits_for_no_later_one(quiet_world: World) -> None:
    run_id, stream = await claimed(quiet_world)

    async def chatter(transcript: Transcript) -> None:
        while True:
            transcript.add(said(1))
            await asyncio.sleep(0)

    async with asyncio.timeout(30), transcript_of(quiet_world, run_id) as transcript:
        chattering = asyncio.create_task(chatter(transcript))
        try:
            await transcript.store([MessageSaid(text="the one")])
        finally:
            chattering.cancel()
        texts = [each.event.text for each in await stored(quiet_world, stream)]

    assert "the one" in texts


async def test_long_transcripts_are_anchored_on_the_way(quiet_world: World) -> None:
    run_id, stream = await claimed(quiet_world)

    async with transcript_of(quiet_world, run_id) as transcript:
        transcript.add(said(2 * ANCHOR_EVERY + 2000))
        await transcript.flush()

    history = await quiet_world.services.store.read(stream, limit=100_000)
    anchors = [each for each in history if isinstance(each.event, RunAnchored)]
    assert len(anchors) == 2
    for anchor in anchors:
        before = [each for each in history if each.position is None][: anchor.event.entries]
        assert before[-1].version < anchor.version
        assert anchor.event.entries_root == root_of(before)


async def test_a_later_attempt_continues_the_tree(quiet_world: World) -> None:
    run_id, stream = await claimed(quiet_world)
    async with transcript_of(quiet_world, run_id) as transcript:
        transcript.add(said(7))
        await transcript.flush()
    await quiet_world.services.store.append([Change(stream=stream, fence=2)], quiet_world.meta())
    history = await read_history(quiet_world.services.store, stream)

    async with transcript_of(quiet_world, run_id, attempt=2, history=history) as second:
        second.add(said(5, 7))
        await second.flush()

    entries = await stored(quiet_world, stream)
    assert second.frontier.count == 12
    assert second.frontier.root() == root_of(entries)
    assert (await read_history(quiet_world.services.store, stream)).frontier == second.frontier


async def test_a_fenced_attempt_stores_nothing_more_and_is_told(quiet_world: World) -> None:
    run_id, stream = await claimed(quiet_world)

    async with transcript_of(quiet_world, run_id) as transcript:
        transcript.add(said(1))
        await transcript.flush()
        fence = Change(stream=stream, fence=2)
        await quiet_world.services.store.append([fence], quiet_world.meta())
        transcript.add(said(1, 1))
        with pytest.raises(Fenced):
            await transcript.flush()
        with pytest.raises(Fenced):
            await transcript.room()

    assert len(await stored(quiet_world, stream)) == 1


@pytest.mark.parametrize("fate", ["before", "after"])
async def test_a_batch_whose_answer_is_lost_is_stored_once(quiet_world: World, fate: str) -> None:
    run_id, stream = await claimed(quiet_world)
    store = Unlucky(quiet_world.services.store, lost=["", fate, "", fate])

    async with transcript_of(quiet_world, run_id, store) as transcript:
        for n in range(4):
            transcript.add(said(3, 3 * n))
            await transcript.flush()

    entries = await stored(quiet_world, stream)
    assert [each.event.text for each in entries] == [f"line {n}" for n in range(12)]
    assert transcript.frontier.root() == root_of(entries)


async def test_who_adds_more_than_can_be_stored_waits(
    quiet_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcripts, "LONGEST_PAUSE_SECONDS", 0.05)
    run_id, stream = await claimed(quiet_world)
    store = Unlucky(quiet_world.services.store, lost=["before"] * 8)
    large = MessageSaid(text="x" * 16_000)

    async with transcript_of(quiet_world, run_id, store) as transcript:
        added = 0

        async def add_for_ever() -> None:
            nonlocal added
            while True:
                transcript.add([large])
                added += 1
                await transcript.room()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(add_for_ever(), 0.2)
        assert added < 200  # some MiB at most, whatever the agent prints
        await transcript.flush()

    assert len(await stored(quiet_world, stream)) == added


async def test_a_bug_in_the_writer_reaches_whoever_waits(quiet_world: World) -> None:
    run_id, _ = await claimed(quiet_world)
    broken: Any = object()

    async with transcript_of(quiet_world, run_id, broken) as transcript:
        transcript.add(said(1))
        with pytest.raises(AttributeError):
            await transcript.flush()
