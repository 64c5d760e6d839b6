"""Rebuilding: a new table beside the old one, with reads served throughout."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from adapters.event_store.store import Store
from domain.decider import Recorded
from projections import generations, rebuilding
from projections.generations import Generation, Superseded
from projections.projection import Projection, Statement, text
from projections.reads import ReadModels
from projections.rebuilding import Parts, RebuildFailed, RebuildRunning, rebuild
from projections.runs import RUNS, list_runs
from projections.runs import project as project_runs
from projections.runs import table as runs_table
from projections.workspaces import WORKSPACES
from tests.projections.histories import (
    built,
    caught_up,
    projecting,
    requested,
    say,
    say_much,
    until,
    whole_table,
)


def wider_table(name: str) -> sa.Table:
    table = runs_table(name)
    table.append_column(text("motto", "none yet"))
    return table


def wider_project(recorded: Recorded[Any]) -> Iterable[Statement]:
    for statement in project_runs(recorded):
        statement.values["motto"] = "newer"
        yield statement


NEWER = replace(RUNS, version=2, table=wider_table, project=wider_project)


async def all_generations(parts: Parts) -> list[Generation]:
    async with parts.engine.connect() as connection:
        return await generations.load(connection)


async def tables(parts: Parts) -> set[str]:
    async with parts.engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names()))


async def test_what_was_built_meanwhile_is_not_built_again(parts: Parts) -> None:
    """A projector saw a rebuild under way, and its own begins when that one has ended."""
    await rebuild(parts, RUNS, fresh=True)

    with pytest.raises(Superseded):
        await rebuild(parts, RUNS, fresh=False)

    assert [each.table_name for each in await all_generations(parts)] == ["runs_v1"]


async def test_who_has_nothing_to_build_takes_no_lease(parts: Parts) -> None:
    """It would turn away who asks for a rebuild at that moment."""
    await rebuild(parts, RUNS, fresh=True)
    await parts.leases.lead("rebuild-runs", "somebody", 20)

    with pytest.raises(Superseded):
        await rebuild(parts, RUNS, fresh=False)


async def test_reads_are_served_while_a_rebuild_and_appends_go_on(
    store: Store, parts: Parts, reads: ReadModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no time is a row missing that was acknowledged and waited for before."""
    monkeypatch.setattr(rebuilding, "FILL_EVENTS", 50)  # many transactions: many times to look
    await say_much(store, 100)
    known = {row.id for row in await everything_after_build(parts, reads)}
    done = asyncio.Event()
    looks = 0

    async def append() -> None:
        number = 0
        while not done.is_set():
            number += 1
            appended = await say(store, f"run-n{number}", requested(f"n{number}"))
            await reads.wait_for("runs", appended.position, 20)
            known.add(f"n{number}")

    async def read() -> None:
        nonlocal looks
        while not done.is_set():
            expected = set(known)
            missing = expected - {row.id for row in await everything(reads)}
            assert not missing
            looks += 1

    async with projecting(parts, [RUNS]), asyncio.TaskGroup() as group:
        await caught_up(parts, reads, [RUNS])
        group.create_task(append())
        group.create_task(read())
        for _ in range(3):
            await rebuild(replace(parts, owner="operator"), RUNS, fresh=True)
            seen = looks
            await until(lambda seen=seen: later(looks, seen))
        await caught_up(parts, reads, [RUNS])
        done.set()
    live = await whole_table(parts, RUNS)
    await built(parts, [RUNS])

    assert {row[0] for row in live} == known
    assert await whole_table(parts, RUNS) == live


async def later(looks: int, seen: int) -> bool:
    return looks > seen


async def everything_after_build(parts: Parts, reads: ReadModels) -> list[Any]:
    await built(parts, [RUNS])
    return await everything(reads)


async def everything(reads: ReadModels) -> list[Any]:
    rows: list[Any] = []
    cursor = None
    while True:
        page = await list_runs(reads, "w", cursor=cursor, limit=200)
        rows += page.items
        cursor = page.next_cursor
        if cursor is None:
            return rows


async def test_a_rebuild_makes_the_next_generation_and_drops_the_last(
    store: Store, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "KEEP_RETIRED_SECONDS", 0.0)
    await say(store, "run-r1", requested("r1"))
    first = await rebuild(parts, RUNS, fresh=True)
    second = await rebuild(parts, RUNS, fresh=True)
    both = await tables(parts)
    async with parts.engine.begin() as connection:
        await generations.drop_retired(connection)

    assert (first.table_name, second.table_name) == ("runs_v1", "runs_v1_g2")
    assert {"runs_v1", "runs_v1_g2"} <= both
    assert await tables(parts) & both == {"projections", "runs_v1_g2"}
    assert [each.table_name for each in await all_generations(parts)] == ["runs_v1_g2"]


async def test_a_new_table_has_the_indexes_of_the_first(store: Store, parts: Parts) -> None:
    await rebuild(parts, RUNS, fresh=True)

    async with parts.engine.connect() as connection:
        made = await connection.run_sync(lambda sync: sa.inspect(sync).get_indexes("runs_v1"))

    assert sorted(str(index["name"]) for index in made) == [
        "runs_v1_by_workspace_id",
        "runs_v1_by_workspace_id_agent_name",
        "runs_v1_by_workspace_id_slug",
        "runs_v1_by_workspace_id_status",
    ]


async def test_a_changed_projection_is_built_beside_the_old_one_and_switched_in(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    await say_much(store, 20)
    await built(parts, [RUNS])
    async with projecting(parts, [NEWER]):
        await until(lambda: serves(reads, 2))
        await say(store, "run-r1", requested("r1"))
        await caught_up(parts, reads, [NEWER])
    rows = await whole_table(parts, NEWER)

    assert len(rows) == 21
    assert {row[-1] for row in rows} == {"newer"}
    assert [(each.table_name, each.state) for each in await all_generations(parts)] == [
        ("runs_v1", "retired"),
        ("runs_v2", "active"),
    ]


async def serves(reads: ReadModels, version: int) -> bool:
    return (await reads.positions())["runs"].version == version


async def test_code_reads_the_table_of_another_version_meanwhile(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    """What the old table does not have reads as its default; what it has is served."""
    await say(store, "run-r1", requested("r1"))
    await built(parts, [RUNS])

    def row(values: dict[str, Any]) -> tuple[str, str]:
        return values["id"], values["motto"]

    page = await reads.page(NEWER, lambda _: [], row, cursor=None, limit=10)

    assert page.items == [("r1", "none yet")]


async def test_older_code_leaves_a_newer_table_alone(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    await say(store, "run-r1", requested("r1"))
    await built(parts, [NEWER])
    async with projecting(parts, [RUNS, WORKSPACES]):
        await say(store, "run-r2", requested("r2"))
        await caught_up(parts, reads, [WORKSPACES])
        page = await list_runs(reads, "w")

    assert [(each.table_name, each.position) for each in await all_generations(parts)] == [
        ("runs_v2", 1),
        ("workspaces_v1", 2),
    ]
    assert [row.id for row in page.items] == ["r1"]


async def test_an_abandoned_rebuild_is_finished_by_the_projector(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    await say_much(store, 20)
    await built(parts, [RUNS])
    async with parts.engine.begin() as connection:
        await generations.begin(connection, RUNS)
    async with projecting(parts, [RUNS]):
        await until(lambda: generation_is(reads, 2))

    assert len(await whole_table(parts, RUNS)) == 20


async def generation_is(reads: ReadModels, number: int) -> bool:
    return (await reads.positions())["runs"].generation == number


async def test_one_rebuild_at_a_time(store: Store, parts: Parts) -> None:
    await parts.leases.lead("rebuild-runs", "somebody", 20)

    with pytest.raises(RebuildRunning):
        await rebuild(parts, RUNS, fresh=True)

    assert await all_generations(parts) == []


async def test_a_rebuild_that_fails_leaves_what_was_served(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    def project(recorded: Recorded[Any]) -> Iterable[Statement]:
        if recorded.position == 2:
            raise ValueError("not this one")
        return project_runs(recorded)

    broken: Projection = replace(RUNS, project=project)
    for number in range(1, 4):
        await say(store, f"run-r{number}", requested(f"r{number}"))
    await built(parts, [RUNS])

    with pytest.raises(RebuildFailed) as refusal:
        await rebuild(parts, broken, fresh=True)

    assert refusal.value.members == {"projection": "runs", "position": 2}
    failed = (await all_generations(parts))[-1]
    assert (failed.state, failed.position, failed.error_position) == ("failed", 1, 2)
    assert failed.error == "ValueError: not this one"
    assert len((await list_runs(reads, "w")).items) == 3


async def test_a_first_build_that_fails_serves_what_it_has(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    def project(recorded: Recorded[Any]) -> Iterable[Statement]:
        if recorded.position == 2:
            raise ValueError("not this one")
        return project_runs(recorded)

    for number in range(1, 4):
        await say(store, f"run-r{number}", requested(f"r{number}"))

    with pytest.raises(RebuildFailed):
        await rebuild(parts, replace(RUNS, project=project), fresh=True)

    assert [row.id for row in (await list_runs(reads, "w")).items] == ["r1"]
    assert (await reads.positions())["runs"].state == "stopped"


async def test_a_failed_rebuild_is_replaced_by_the_next(store: Store, parts: Parts) -> None:
    await say(store, "run-r1", requested("r1"))

    def project(recorded: Recorded[Any]) -> Iterable[Statement]:
        raise ValueError(recorded.type)

    broken: Projection = replace(RUNS, project=project)
    await rebuild(parts, RUNS, fresh=True)
    for _ in range(2):
        with pytest.raises(RebuildFailed):
            await rebuild(parts, broken, fresh=True)

    made = await rebuild(parts, RUNS, fresh=True)

    assert [(each.table_name, each.state) for each in await all_generations(parts)] == [
        ("runs_v1", "retired"),
        ("runs_v1_g4", "active"),
    ]
    assert made.generation == 4, "a number is not used again while it could be mistaken"
    assert len(await whole_table(parts, RUNS)) == 1


async def test_progress_is_shown(
    store: Store, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "FILL_EVENTS", 2)
    for number in range(5):
        await say(store, f"run-r{number}", requested(f"r{number}"))
    shown: list[tuple[int, int]] = []

    def show(position: int, head: int) -> None:
        shown.append((position, head))

    await rebuild(parts, RUNS, fresh=True, on_progress=show)

    assert shown == [(2, 5), (4, 5), (5, 5), (5, 5)]
