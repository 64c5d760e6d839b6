"""What agents try: paths that mean two things, and calls that nobody should hear of."""

import asyncio
from itertools import product
from posixpath import normpath
from unicodedata import normalize
from urllib.parse import unquote

import pytest

from domain.catalog import Policy, Rule, Tool
from domain.entries import ToolRequested
from domain.ports import Change
from tests.workers.gateway.doors import Door, open_door, web
from tests.workers.gateway.services import Asked, answer, reflect, serving
from tests.workers.worlds import World

TRICKS = (
    "..",
    ".",
    "",
    "%2e%2e",
    ".%2E",
    "..;",
    "..%00",
    "..%2f",
    "..%5c",
    "..\\",
    "%252e%252e",
    "..%252f",
    "%c0%ae%c0%ae",
    "%ef%bc%8e%ef%bc%8e",
    "%e2%80%a5",
    "..%20",
    "x%2f..%2f..",
    "x",
)


@pytest.fixture
def world(quiet_world: World) -> World:
    return quiet_world


async def say(door: Door, target: str) -> bytes:
    """Ask for exactly this target; no client puts it right before."""
    reader, writer = await asyncio.open_unix_connection(str(door.socket))
    writer.write(f"GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_nothing_outside_of_what_is_allowed_is_reached_by_any_spelling(world: World) -> None:
    async with serving(answer(b"ok")) as service:
        inside = Rule(permission="allow", resource=f"{service.url}/base/v1/*")
        denied = Rule(permission="deny", resource=f"{service.url}/base/v1/admin/*")
        async with open_door(
            world,
            tools={"web": Tool(base_url=f"{service.url}/base")},
            policies={"p": Policy(rules=[inside, denied])},
        ) as door:
            for first, second, last in product(TRICKS, TRICKS, ("admin/x", "Admin%2fx", "y")):
                await say(door, f"/tools/web/v1/{first}/{second}/{last}")

            entries = await door.entries()
    reached = [asked.target for asked in service.asked]
    allowed = [each for each in entries if getattr(each, "decision", "") == "allow"]
    assert "/base/v1/x/x/y" in reached  # what is allowed does work
    assert reached == [f"/base{each.path}" for each in allowed]
    for target in reached:
        most_obliging = target
        for _ in range(5):
            most_obliging = normalize("NFKC", unquote(most_obliging)).replace("\\", "/")
        landed = normpath(most_obliging).lower()
        assert landed.startswith("/base/v1/"), target
        assert not landed.startswith("/base/v1/admin"), target


async def test_a_call_is_in_the_log_before_the_tool_hears_of_it(world: World) -> None:
    found: list[object] = []

    async def look(asked: Asked, writer: asyncio.StreamWriter) -> None:
        found.extend(await door.stored())
        await answer(b"ok")(asked, writer)

    async with web(world, look) as (_, door):
        assert (await door.agent.get("/web/x")).status_code == 200

    (entry,) = found
    assert isinstance(entry, ToolRequested)


async def test_what_cannot_be_written_down_is_not_done(world: World) -> None:
    async with web(world, reflect) as (service, door):
        fence = Change(stream=door.stream, fence=2)  # another worker took the run over
        await world.services.store.append([fence], world.meta())
        answered = await door.agent.get("/web/x")

    assert answered.status_code == 409
    assert service.asked == []


async def test_after_the_end_of_a_run_nothing_is_done_for_it(world: World) -> None:
    async with web(world, reflect) as (service, door):
        door.journal.close()
        answered = await door.agent.get("/web/x")

    assert answered.status_code == 409
    assert service.asked == []
