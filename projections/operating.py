"""What an operator does with read models: look, rebuild one, let a stopped one try again."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from time import monotonic

from adapters.event_store.store import Store, open_store
from adapters.settings import Settings
from adapters.wiring import Services
from domain.errors import Conflict
from domain.ids import new_id
from projections import generations
from projections.databases import open_database
from projections.generations import Generation
from projections.projection import Projection
from projections.projector import Projector
from projections.rebuilding import Parts, rebuild

SHOW_SECONDS = 0.2  # between two lines of progress


@asynccontextmanager
async def open_parts(settings: Settings, store: Store, name: str) -> AsyncGenerator[Parts]:
    """Open the read models' database beside the log."""
    engine = open_database(settings.read_url, writes=True)
    try:
        yield Parts(
            store=store,
            leases=store.leases,
            engine=engine,
            owner=f"{name}-{socket.gethostname()}-{os.getpid()}-{new_id()}",
        )
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_beside(settings: Settings) -> AsyncGenerator[Parts]:
    """Open what a command needs that works beside the projector: databases, no Redis."""
    store = await open_store(settings.log_url)
    try:
        async with open_parts(settings, store, "operator") as parts:
            await generations.create_bookkeeping(parts.engine)
            yield parts
    finally:
        await store.close()


async def run(services: Services, stop: asyncio.Event) -> None:
    """Run the projector until `stop`. Raises what it dies of."""
    async with open_parts(services.settings, services.store, "projector") as parts:
        projector = asyncio.create_task(Projector(parts).run())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([projector, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in (projector, stopped):
            task.cancel()
        results = await asyncio.gather(projector, stopped, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]


async def show_status(settings: Settings) -> None:
    """Print every generation, and how far the log is."""
    async with open_beside(settings) as parts:
        head = await parts.store.head()
        async with parts.engine.connect() as connection:
            found = await generations.load(connection)
    _say(f"{'TABLE':<24}{'STATE':<10}{'POSITION':>12}  of {head}")
    for each in found:
        _say(f"{each.table_name:<24}{each.state:<10}{each.position:>12}  {_trouble(each)}".rstrip())


async def rebuild_now(settings: Settings, projection: Projection) -> None:
    """Rebuild a read model from the log, showing progress. Raises as `rebuild` does."""
    async with open_beside(settings) as parts:
        started = monotonic()
        built = await rebuild(parts, projection, fresh=True, on_progress=_progress(projection.name))
        seconds = monotonic() - started
    _say(f"{built.table_name} is served now: {built.position} positions in {seconds:.1f} s")


async def retry(settings: Settings, name: str) -> None:
    """Let a stopped or failed projection go on where it stopped. Raises Conflict otherwise."""
    async with open_beside(settings) as parts, parts.engine.begin() as connection:
        found = await generations.lock(connection, name)
        halted = [each for each in found if each.state in ("stopped", "failed")]
        if not halted:
            raise Conflict(f"{name} has not stopped; there is nothing to retry.", projection=name)
        for each in halted:
            state = "active" if each.state == "stopped" else "building"
            await generations.set_state(connection, each, state)
    _say(f"{name} goes on at position {halted[-1].position + 1}; `status` shows whether it got by.")


def _progress(name: str) -> Callable[[int, int], None]:
    last = monotonic()

    def show(position: int, head: int) -> None:
        nonlocal last
        if monotonic() - last >= SHOW_SECONDS:
            last = monotonic()
            _say(f"{name}: {position} of {head} ({100 * position // max(head, 1)} %)")

    return show


def _trouble(generation: Generation) -> str:
    if not generation.error:
        return ""
    return f"event {generation.error_position}: {generation.error}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
