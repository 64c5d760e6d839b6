"""The projector: catching up, what it does when it cannot go on, and when there are two of it."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from adapters.event_store.store import Store
from api.metrics import look
from domain.decider import Recorded
from domain.errors import Unavailable
from domain.runs import RunAnchored, RunClaimed
from domain.workspaces import WorkspaceArchived, WorkspaceCreated
from projections import generations
from projections.builds import BUILDS
from projections.databases import open_database
from projections.feeding import give, make_feed
from projections.generations import Superseded, served
from projections.projection import Projection, Statement
from projections.projector import Projector
from projections.reads import ReadModels
from projections.rebuilding import Parts
from projections.registry import PROJECTIONS
from projections.runs import RUNS, list_runs
from projections.runs import project as project_runs
from projections.workspaces import WORKSPACES, list_workspaces
from tests.pages import here
from tests.projections.histories import (
    SECONDS,
    built,
    caught_up,
    projecting,
    requested,
    say,
    say_much,
    until,
    whole_table,
)

POISON = "poison"


def project_but_poison(recorded: Recorded[Any]) -> Iterable[Statement]:
    """As runs are projected, but for one that cannot be."""
    if recorded.stream == f"run-{POISON}":
        raise ValueError(f"cannot project {recorded.stream}")
    return project_runs(recorded)


FRAGILE = replace(RUNS, project=project_but_poison)


async def test_a_rebuild_equals_catching_up(store: Store, parts: Parts, reads: ReadModels) -> None:
    """Whole tables, all columns: live in small batches, then from the beginning in large ones."""
    async with projecting(parts):
        for seed in range(4):
            await say_much(store, 25, seed)
        await caught_up(parts, reads)
    live = {each.name: await whole_table(parts, each) for each in PROJECTIONS}
    await built(parts)
    rebuilt = {each.name: await whole_table(parts, each) for each in PROJECTIONS}

    assert len(live["runs"]) == 100
    assert len(live["builds"]) == 12
    assert rebuilt == live


async def test_a_list_sees_its_callers_own_last_write(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    async with projecting(parts, [RUNS]):
        for number in range(20):
            appended = await say(store, f"run-r{number}", requested(f"r{number}"))
            await reads.wait_for("runs", appended.position, SECONDS)
            page = await list_runs(reads, "w", limit=1)

            assert [row.id for row in page.items] == [f"r{number}"]
            assert page.position >= appended.position


async def test_checkpoints_pass_events_that_are_not_handled(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    async with projecting(parts, [WORKSPACES, RUNS]):
        appended = await say(store, "run-r1", requested("r1"))

        reached = await reads.wait_for("workspaces", appended.position, SECONDS)
        assert reached == appended.position


async def test_progress_is_told_after_each_commit(store: Store, parts: Parts) -> None:
    told: asyncio.Queue[int] = asyncio.Queue()
    projector = asyncio.create_task(
        Projector(parts, projections=[RUNS], on_progress=told.put_nowait).run()
    )
    appended = await say(store, "run-r1", requested("r1"))
    try:
        async with asyncio.timeout(20):
            while await told.get() < appended.position:
                pass
    finally:
        projector.cancel()
        await asyncio.gather(projector, return_exceptions=True)

    assert await whole_table(parts, RUNS)


async def test_a_poison_event_stops_one_projection_where_it_is(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    """What came before it is there, what comes after it is not, and the others go on."""
    mine = [WORKSPACES, FRAGILE]
    await built(parts, mine)
    async with projecting(parts, mine):
        before = await say(store, "run-r1", requested("r1"))
        await say(store, f"run-{POISON}", requested(POISON))
        await say(store, "run-r2", requested("r2"))
        created = WorkspaceCreated(workspace_id="w", organization_id="o", slug="s", name="n")
        after = await say(store, "workspace-w", created)
        await reads.wait_for("workspaces", after.position, SECONDS)
        await until(lambda: stopped(reads))
        waited = asyncio.get_running_loop().time()
        reached = await reads.wait_for("runs", after.position, SECONDS)
        waited = asyncio.get_running_loop().time() - waited
        runs = (await reads.positions())["runs"]

    assert reached == before.position
    assert waited < 1, "nobody waits for a projection that has stopped"
    assert (runs.state, runs.error_position) == ("stopped", before.position + 1)
    assert runs.error == "ValueError: cannot project run-poison"
    assert [row.id for row in (await list_runs(reads, "w")).items] == ["r1"]
    assert [row.id for row in (await list_workspaces(reads, "o")).items] == ["w"]
    await look(store, reads)
    shown = here()
    assert shown["argosy_projection_stopped", "runs"] == 1
    assert shown["argosy_projection_stopped", "workspaces"] == 0
    assert shown["argosy_projection_lag_events", "runs"] == after.position - before.position
    assert 0 < shown["argosy_projection_lag_seconds", "runs"] < 60
    assert shown["argosy_projection_lag_seconds", "workspaces"] == 0


async def stopped(reads: ReadModels) -> bool:
    found = (await reads.positions()).get("runs")
    return found is not None and found.state == "stopped"


async def test_a_poison_event_in_the_middle_of_a_batch_loses_nothing(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    await built(parts, [FRAGILE, WORKSPACES])
    for id in ("r1", "r2", POISON, "r3"):
        await say(store, f"run-{id}", requested(id))
    await say(store, "workspace-w", WorkspaceArchived(workspace_id="w"))
    async with projecting(parts, [FRAGILE, WORKSPACES]):
        await until(lambda: stopped(reads))
        await caught_up(parts, reads, [WORKSPACES])

    assert (await reads.positions())["runs"].position == 2
    assert [row.id for row in (await list_runs(reads, "w")).items] == ["r2", "r1"]


async def test_a_stopped_projection_goes_on_when_it_is_told_to(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    """While the projector runs: it notices by itself, and goes on where it had stopped."""
    repaired = False

    def project(recorded: Recorded[Any]) -> Iterable[Statement]:
        return project_runs(recorded) if repaired else project_but_poison(recorded)

    mended = replace(RUNS, project=project)
    async with projecting(parts, [mended]):
        await say(store, "run-r1", requested("r1"))
        await say(store, f"run-{POISON}", requested(POISON))
        await until(lambda: stopped(reads))
        repaired = True
        async with parts.engine.begin() as connection:
            [halted] = await generations.lock(connection, "runs")
            await generations.set_state(connection, halted, "active")
        await say(store, "run-r2", requested("r2"))
        await caught_up(parts, reads, [mended])

    assert [row.id for row in (await list_runs(reads, "w")).items] == ["r2", POISON, "r1"]


async def test_two_projectors_write_everything_once(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    """One leads; when it ends the other takes over, and no event is applied twice or left out."""
    other = replace(parts, owner="there")
    async with projecting(other, [RUNS, BUILDS]):
        async with projecting(parts, [RUNS, BUILDS]):
            await say_much(store, 30, 1)
            await caught_up(parts, reads, [RUNS, BUILDS])
        await say_much(store, 30, 2)
        await caught_up(parts, reads, [RUNS, BUILDS])
        live = [await whole_table(parts, each) for each in (RUNS, BUILDS)]
    await built(parts, [RUNS, BUILDS])

    assert [await whole_table(parts, each) for each in (RUNS, BUILDS)] == live


async def test_a_runner_that_was_overtaken_writes_nothing(store: Store, parts: Parts) -> None:
    """Even without a lease: the checkpoint has to be where this runner believes it to be."""
    await built(parts, [RUNS])
    async with parts.engine.connect() as connection:
        before = served(await generations.load(connection), "runs")
    assert before
    stale = make_feed(parts.engine, RUNS, before)
    appended = await say(
        store, "run-r1", requested("r1"), RunAnchored(run_id="r1", entries=1, entries_root="")
    )
    first, second = appended.recorded
    await give(parts.engine, [stale], [first], 1)

    with pytest.raises(Superseded):
        await give(parts.engine, [stale], [first, second], 2)

    assert len(await whole_table(parts, RUNS)) == 1
    async with parts.engine.connect() as connection:
        assert [each.position for each in await generations.load(connection)] == [1]


async def test_rows_and_checkpoint_are_one_transaction(store: Store, parts: Parts) -> None:
    """A batch that fails half-way leaves neither: here its second statement cannot be stored."""

    def project(recorded: Recorded[Any]) -> Iterable[Statement]:
        for statement in project_runs(recorded):
            if isinstance(recorded.event, RunClaimed):
                statement.values["attempt"] = object()
            yield statement

    broken = replace(RUNS, project=project)
    await built(parts, [RUNS])
    async with parts.engine.connect() as connection:
        before = served(await generations.load(connection), "runs")
    assert before
    await say(store, "run-r1", requested("r1"))
    await say(store, "run-r2", requested("r2"))
    await say(store, "run-r1", RunClaimed(run_id="r1", attempt=1, worker="m"))
    events = await store.read_all(after=0)

    [result] = await give(parts.engine, [make_feed(parts.engine, broken, before)], events, 3)

    assert not isinstance(result, Projection)
    assert result.position == 3
    assert [row[0] for row in await whole_table(parts, RUNS)] == ["r1", "r2"]
    async with parts.engine.connect() as connection:
        assert [each.position for each in await generations.load(connection)] == [2]


async def test_a_database_that_goes_away_is_waited_for(
    store: Store, parts: Parts, reads: ReadModels
) -> None:
    """Every connection is cut, again and again, in the middle of whatever it was doing."""
    if parts.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no connections to cut")
    cutter = open_database(parts.engine.url.render_as_string(hide_password=False), writes=True)
    cut = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with projecting(parts, [RUNS, BUILDS]):
        for seed in range(5):
            async with cutter.begin() as connection:
                await connection.execute(cut)
            await say_much(store, 20, seed)
        await cutter.dispose()
        await until(lambda: has_all(parts, reads))
    live = await whole_table(parts, RUNS)
    await built(parts, [RUNS])

    assert await whole_table(parts, RUNS) == live


async def has_all(parts: Parts, reads: ReadModels) -> bool:
    try:
        found = await reads.positions()
    except Unavailable:
        return False
    head = await parts.store.head()
    return all(name in found and found[name].position >= head for name in ("runs", "builds"))
