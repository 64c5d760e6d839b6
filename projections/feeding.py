"""Giving events to projections: rows and checkpoint in one transaction; finding who cannot."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.decider import Recorded
from projections import generations
from projections.databases import is_outage, to_the_end
from projections.generations import Generation, Superseded
from projections.projection import Projection
from projections.writing import Writer

# Any: events of every noun pass here.
type Events = Sequence[Recorded[Any]]


class Feed(Struct, frozen=True, kw_only=True):
    """One generation that is being filled, as far as this process knows."""

    projection: Projection
    generation: Generation
    writer: Writer

    @property
    def table_name(self) -> str:
        """The table that it fills."""
        return self.generation.table_name

    @property
    def position(self) -> int:
        """How far it is."""
        return self.generation.position


class Poisoned(Struct, frozen=True, kw_only=True):
    """A feed that met an event it cannot handle. It has everything before that event."""

    feed: Feed
    position: int
    error: str


def make_feed(engine: AsyncEngine, projection: Projection, generation: Generation) -> Feed:
    """Return a feed of a generation of the projection's own version."""
    table = projection.table(generation.table_name)
    return Feed(projection=projection, generation=generation, writer=Writer(table, engine.dialect))


@to_the_end
async def give(
    engine: AsyncEngine, feeds: Sequence[Feed], events: Events, reached: int
) -> list[Feed | Poisoned]:
    """Write what the events mean, and that the feeds have everything up to `reached`.

    All of it in one transaction, unless something in it cannot be written: then the feeds go on
    alone, and the one that is to blame event by event, up to the one that it cannot handle.
    Raises Superseded if another process fed one of them, and what `is_outage` knows.
    """
    behind = [feed for feed in feeds if feed.position < reached]
    ahead: list[Feed | Poisoned] = [feed for feed in feeds if feed.position >= reached]
    if not behind:
        return ahead
    try:
        async with engine.begin() as connection:
            fed = await give_within(connection, behind, events, reached)
    except Superseded:
        raise
    except Exception as error:
        if is_outage(error):
            raise
        if len(behind) > 1:
            alone = [await give(engine, [feed], events, reached) for feed in behind]
            return [*ahead, *(each for found in alone for each in found)]
        return [*ahead, await _one_by_one(engine, behind[0], events, reached, error)]
    return [*ahead, *fed]


async def give_within(
    connection: AsyncConnection, feeds: Sequence[Feed], events: Events, reached: int
) -> list[Feed]:
    """As `give`, in the caller's transaction. The checkpoints move first: that takes their lock."""
    for position in {feed.position for feed in feeds}:
        together = [feed.generation for feed in feeds if feed.position == position]
        await generations.advance(connection, together, reached)
    for feed in feeds:
        project = feed.projection.project
        await feed.writer.write(
            connection,
            (statement for event in _wanted(feed, events) for statement in project(event)),
        )
    return [replace(feed, generation=replace(feed.generation, position=reached)) for feed in feeds]


async def _one_by_one(
    engine: AsyncEngine, feed: Feed, events: Events, reached: int, error: Exception
) -> Feed | Poisoned:
    wanted = _wanted(feed, events)
    if len(wanted) == 1 and wanted[0].position == reached:
        return Poisoned(feed=feed, position=reached, error=f"{type(error).__name__}: {error}")
    for event in wanted:
        assert event.position is not None
        [fed] = await give(engine, [feed], [event], event.position)
        if isinstance(fed, Poisoned):
            return fed
        feed = fed
    [fed] = await give(engine, [feed], [], reached)
    return fed


def _wanted(feed: Feed, events: Events) -> Events:
    types, after = feed.projection.types, feed.position
    return [each for each in events if each.type in types and (each.position or 0) > after]
