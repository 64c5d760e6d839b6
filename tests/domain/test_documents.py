"""Documents by name: declared once, revised, deleted, and declared anew."""

import asyncio
from itertools import count

import pytest

from adapters.event_store.store import Store
from domain.catalog import Tool
from domain.documents import TOOLS, Applied, apply_document, delete_document
from domain.errors import NotFound
from domain.handling import Commands, Unit
from domain.ports import Meta

ME = Meta(actor="key:k1", workspace_id="w", command_id="c1")
_ids = count(1)


async def applied(commands: Commands, base_url: str = "https://a.example") -> Applied[Tool]:
    async def work(unit: Unit) -> Applied[Tool]:
        return await apply_document(
            unit,
            TOOLS,
            "w",
            "web",
            lambda _: Tool(base_url=base_url),
            new_id=lambda: f"id{next(_ids)}",
        )

    return (await commands.run(work, ME, key=f"{next(_ids)}")).value


async def deleted(commands: Commands) -> Tool:
    async def work(unit: Unit) -> Tool:
        return await delete_document(unit, TOOLS, "w", "web")

    return (await commands.run(work, ME, key="delete")).value


async def test_a_document_is_declared_revised_and_left_alone(
    commands: Commands, store: Store
) -> None:
    first = await applied(commands)
    second = await applied(commands, "https://b.example")
    same = await applied(commands, "https://b.example")

    assert (first.before, first.revision) == (None, 1)
    assert second.before == first.spec
    assert (second.revision, same.revision) == (2, 2)
    assert first.document_id == second.document_id == same.document_id
    assert [each.type for each in await store.read_all(after=0)] == [
        "document.applied",
        "document.revised",
    ]


async def test_a_deleted_one_gives_its_name_back(commands: Commands) -> None:
    first = await applied(commands)
    was = await deleted(commands)
    again = await applied(commands)

    assert was == first.spec
    assert (again.before, again.revision) == (None, 1)
    assert again.document_id != first.document_id


async def test_what_is_not_there_cannot_be_deleted(commands: Commands) -> None:
    with pytest.raises(NotFound, match="web"):
        await deleted(commands)


async def test_fifty_at_once_make_one_document(store: Store) -> None:
    """In five processes, which do not queue up behind each other."""
    processes = [Commands(store) for _ in range(5)]

    made = await asyncio.gather(*(applied(processes[number % 5]) for number in range(50)))

    assert len({each.document_id for each in made}) == 1
    assert sum(each.before is None for each in made) == 1
