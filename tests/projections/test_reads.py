"""Reading read models: paging, cursors, waiting."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from adapters.event_store.store import Store
from domain.errors import Invalid, Unavailable
from domain.ports import Change, Meta
from projections.builds import list_builds
from projections.feeding import give, make_feed
from projections.reads import ReadModels, open_reads
from projections.rebuilding import Parts, rebuild
from projections.runs import RUNS, list_runs
from tests.projections.histories import built, requested, say


async def test_paging_shows_every_row_once_though_all_are_of_the_same_moment(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    meta = Meta(actor="system", workspace_id="w", command_id="")
    changes = [Change(stream=f"run-r{n}", events=[requested(f"r{n}")]) for n in range(10)]
    appended = await store.append(changes, meta)
    await built(parts, [RUNS])
    pages: list[list[str]] = []
    cursor = None
    while True:
        page = await list_runs(reads, "w", cursor=cursor, limit=3)
        pages.append([row.id for row in page.items])
        cursor = page.next_cursor
        if cursor is None:
            break

    assert len({each.at for each in appended.recorded}) == 1
    assert pages == [["r9", "r8", "r7"], ["r6", "r5", "r4"], ["r3", "r2", "r1"], ["r0"]]


async def test_rows_that_come_meanwhile_do_not_move_the_next_page(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    for number in range(4):
        await say(store, f"run-r{number}", requested(f"r{number}"))
    await built(parts, [RUNS])
    first = await list_runs(reads, "w", limit=2)
    await say(store, "run-new", requested("new"))
    await built(parts, [RUNS])

    second = await list_runs(reads, "w", limit=2, cursor=first.next_cursor)

    assert [row.id for row in second.items] == ["r1", "r0"]
    assert second.next_cursor is None


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "%%%",
        "a" * 5000,
        base64.urlsafe_b64encode(b"runs:0").decode(),
        base64.urlsafe_b64encode(b"runs:-1").decode(),
        base64.urlsafe_b64encode(b"runs:99999999999999999999").decode(),
        base64.urlsafe_b64encode(b"builds:1").decode(),
        base64.urlsafe_b64encode(b"runs:1'--").decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
async def test_a_cursor_that_the_list_did_not_give_out_is_refused(
    parts: Parts, reads: ReadModels, cursor: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        await list_runs(reads, "w", cursor=cursor)

    assert refusal.value.field == "cursor"


@pytest.mark.parametrize("limit", [0, -1, 201])
async def test_limits_have_limits(reads: ReadModels, limit: int) -> None:
    with pytest.raises(Invalid) as refusal:
        await list_builds(reads, "w", limit=limit)

    assert refusal.value.field == "limit"


async def test_waiting_ends_when_the_read_model_is_there(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    generation = await rebuild(parts, RUNS, fresh=True)
    feed = make_feed(parts.engine, RUNS, generation)
    appended = await say(store, "run-r1", requested("r1"))
    waiting = asyncio.create_task(reads.wait_for("runs", 1, 20))
    await asyncio.sleep(0.05)
    early = waiting.done()
    await give(parts.engine, [feed], appended.recorded, 1)

    assert await waiting == 1
    assert not early


async def test_whoever_waits_says_so_and_who_need_not_does_not(
    store: Store, parts: Parts, read_url: str
) -> None:
    said: list[None] = []
    reads = await open_reads(read_url, lambda: said.append(None))
    generation = await rebuild(parts, RUNS, fresh=True)
    feed = make_feed(parts.engine, RUNS, generation)
    appended = await say(store, "run-r1", requested("r1"))
    await reads.wait_for("runs", 0)
    unasked = list(said)
    waiting = asyncio.create_task(reads.wait_for("runs", 1, 20))
    async with asyncio.timeout(10):
        while not said:  # noqa: ASYNC110  # it looks at the database first
            await asyncio.sleep(0.001)
    await give(parts.engine, [feed], appended.recorded, 1)
    reached = await waiting
    await reads.close()

    assert not unasked
    assert reached == 1


async def test_waiting_gives_up(store: Store, parts: Parts, reads: ReadModels) -> None:
    await rebuild(parts, RUNS, fresh=True)
    before = monotonic()

    reached = await reads.wait_for("runs", 5, 0.1)

    assert reached == 0
    assert 0.1 <= monotonic() - before < 1


async def test_nothing_has_to_be_there_yet(reads: ReadModels) -> None:
    assert await reads.positions() == {}
    assert await reads.wait_for("runs", 1, 0.01) == 0


async def test_what_was_seen_once_needs_no_second_look(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    await say(store, "run-r1", requested("r1"))
    await built(parts, [RUNS])
    await reads.wait_for("runs", 1)
    await reads.close()
    await parts.engine.dispose()

    assert await reads.wait_for("runs", 1) == 1


async def test_a_hundred_lists_that_wait_share_their_looks(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    generation = await rebuild(parts, RUNS, fresh=True)
    feed = make_feed(parts.engine, RUNS, generation)
    appended = await say(store, "run-r1", requested("r1"))
    waiting = [asyncio.create_task(reads.wait_for("runs", 1, 20)) for _ in range(100)]
    await give(parts.engine, [feed], appended.recorded, 1)

    assert await asyncio.gather(*waiting) == [1] * 100


async def test_a_database_that_cannot_be_read_is_not_available(tmp_path: Path) -> None:
    reads = await open_reads(f"sqlite:///{tmp_path}")
    asked: list[Callable[[], Awaitable[Any]]] = [
        reads.positions,
        lambda: list_runs(reads, "w"),
    ]
    for ask in asked:
        with pytest.raises(Unavailable):
            await ask()
    await reads.close()
