"""Logs to project, and the ways to get read models of them."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from msgspec.structs import replace

from domain.builds import (
    BuildClaimed,
    BuildEnded,
    BuildEvent,
    BuildPlanned,
    BuildRequested,
    BuildRetried,
)
from domain.decider import Event
from domain.ports import Appended, Change, EventStore, Meta
from domain.runs import (
    How,
    RunAnchored,
    RunCancelRequested,
    RunClaimed,
    RunEnded,
    RunEvent,
    RunRequested,
    RunRetried,
    RunStarted,
    Usage,
)
from projections import generations
from projections.generations import served
from projections.projection import Projection
from projections.projector import Projector
from projections.reads import ReadModels
from projections.rebuilding import Parts, rebuild
from projections.registry import PROJECTIONS

SECONDS = 20.0


async def say(store: EventStore, stream: str, *events: Event) -> Appended:
    """Append events to one stream."""
    meta = Meta(actor="system", workspace_id="w", command_id="")
    return await store.append([Change(stream=stream, events=events)], meta)


async def built(parts: Parts, projections: Sequence[Projection] = PROJECTIONS) -> None:
    """Build every read model from the log as it is."""
    for projection in projections:
        await rebuild(parts, projection, fresh=True)


@asynccontextmanager
async def projecting(
    parts: Parts, projections: Sequence[Projection] = PROJECTIONS
) -> AsyncGenerator[Projector]:
    """Have a projector run for a while."""
    projector = Projector(parts, projections=projections)
    task = asyncio.create_task(projector.run())
    try:
        yield projector
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def caught_up(
    parts: Parts, reads: ReadModels, projections: Sequence[Projection] = PROJECTIONS
) -> None:
    """Wait until all read models have what the log has now."""
    head = await parts.store.head()
    for projection in projections:
        reached = await reads.wait_for(projection.name, head, SECONDS)
        assert reached >= head, f"{projection.name} is at {reached} of {head}"


async def until(condition: Callable[[], Any]) -> None:
    """Wait until an awaitable condition holds."""
    async with asyncio.timeout(SECONDS):
        while not await condition():  # noqa: ASYNC110  # what others commit sets no event here
            await asyncio.sleep(0.01)


async def whole_table(parts: Parts, projection: Projection) -> list[tuple[Any, ...]]:
    """Return all rows of what is served, all columns."""
    async with parts.engine.connect() as connection:
        found = served(await generations.load(connection), projection.name)
        assert found is not None
        table = projection.table(found.table_name)
        rows = await connection.execute(sa.select(table).order_by(table.c.id))
        return [tuple(row) for row in rows]


REQUESTED = RunRequested(
    run_id="r1",
    workspace_id="w",
    agent_id="a",
    agent_name="echo",
    deployment_id="d",
    slug="echo",
    revision=1,
    message="hello",
)
BUILD_REQUESTED = BuildRequested(
    build_id="b1",
    workspace_id="w",
    agent_id="a",
    agent_name="echo",
    version=1,
    deployment_id="d",
    revision=1,
    mode="FAST_OVERLAY",
)


def requested(run_id: str, **fields: Any) -> RunRequested:
    """Return a run's first event."""
    return replace(REQUESTED, run_id=run_id, **fields)


def build_requested(build_id: str, **fields: Any) -> BuildRequested:
    """Return a build's first event."""
    return replace(BUILD_REQUESTED, build_id=build_id, **fields)


def some_run(chance: random.Random, id: str) -> list[RunEvent]:
    """Return a run's history, as far as it got."""
    events: list[RunEvent] = [requested(id, slug=chance.choice(["echo", "other"]))]
    attempt = 0
    while True:
        attempt += 1
        events += [
            RunClaimed(run_id=id, attempt=attempt, worker="m"),
            RunStarted(run_id=id, attempt=attempt, sandbox="s"),
        ]
        if chance.random() < 0.2:
            events.append(RunAnchored(run_id=id, entries=1, entries_root="00"))
        if chance.random() < 0.7:
            break
        events.append(RunRetried(run_id=id, attempt=attempt))
    if chance.random() < 0.3:
        events.append(RunCancelRequested(run_id=id))
    usage = Usage(seconds=chance.random(), input_tokens=chance.randrange(100))
    hows: list[How] = ["completed", "failed", "cancelled"]
    how = chance.choice(hows)
    events.append(RunEnded(run_id=id, how=how, attempt=attempt, output="x" * 2000, usage=usage))
    return events[: chance.randrange(1, len(events) + 1)]


def some_build(chance: random.Random, id: str) -> list[BuildEvent]:
    """Return a build's history, as far as it got."""
    events: list[BuildEvent] = [
        build_requested(id),
        BuildClaimed(build_id=id, attempt=1, worker="m"),
        BuildRetried(build_id=id, attempt=1),
        BuildClaimed(build_id=id, attempt=2, worker="m"),
        BuildPlanned(build_id=id, attempt=2, mode="FULL_BUILD", confirmed=False, evidence="sdist"),
        BuildEnded(build_id=id, how="failed", attempt=2, step="plan", detail="no", hint="wheels"),
    ]
    return events[: chance.randrange(1, len(events) + 1)]


async def say_much(store: EventStore, count: int, seed: int = 0) -> None:
    """Append `count` interleaved histories of runs and builds."""
    chance = random.Random(seed)
    waiting: dict[str, list[Event]] = {}
    for number in range(count):
        waiting[f"run-r{seed}-{number}"] = [*some_run(chance, f"r{seed}-{number}")]
        if number % 10 == 0:
            waiting[f"build-b{seed}-{number}"] = [*some_build(chance, f"b{seed}-{number}")]
    while waiting:
        streams = chance.sample(sorted(waiting), min(len(waiting), 40))
        appends = [say(store, stream, waiting[stream].pop(0)) for stream in streams]
        await asyncio.gather(*appends)
        waiting = {stream: events for stream, events in waiting.items() if events}
