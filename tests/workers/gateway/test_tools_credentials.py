"""Keys of tools: added outside of the sandbox, kept from the agent, whatever a tool answers."""

import asyncio
from urllib.parse import parse_qs

import pytest

from adapters.vault import ClosedVault
from domain.catalog import ApiKeyPlace, Tool
from tests.workers.gateway.doors import lock, open_door, web
from tests.workers.gateway.services import Asked, answer, chunk, head, reflect
from tests.workers.worlds import WORKSPACE, World

KEY = "sk-canary-0123456789"
STARS = "*" * len(KEY)
ODD_KEY = 'sk-canary/+&"x'  # written differently in URLs, JSON and HTML
IN_QUERY = ApiKeyPlace(location="Query", name="api_key", value_prefix="")


@pytest.fixture
def world(quiet_world: World) -> World:
    return quiet_world


@pytest.mark.parametrize(
    ("place", "header", "value"),
    [
        (None, "authorization", f"Bearer {KEY}"),
        (ApiKeyPlace(name="X-API-Key", value_prefix=""), "x-api-key", KEY),
        (ApiKeyPlace(name="X-Token", value_prefix="Token "), "x-token", f"Token {KEY}"),
    ],
)
async def test_a_key_is_put_where_the_tool_expects_it_and_masked_where_it_comes_back(
    world: World, place: ApiKeyPlace | None, header: str, value: str
) -> None:
    own = {"X-API-Key": "own", "x_api_key": "own", "Authorization": "own", "Cookie": "own=1"}
    own |= {header: "own", header.replace("-", "_"): "own", "Accept-Encoding": "gzip"}
    async with web(world, reflect, auth_type="APIKey", api_key=place) as (service, door):
        await lock(door, KEY)
        answered = await door.agent.get("/web/x", headers=own)

        assert await door.canaries(KEY) == []
    (asked,) = service.asked
    assert asked.headers[header] == value
    assert "own" not in str(asked.headers)
    assert asked.headers["accept-encoding"] == "identity"
    assert answered.json()["headers"][header] == value.replace(KEY, STARS)
    assert KEY not in answered.text


async def test_a_key_in_the_query_is_the_only_one_there(world: World) -> None:
    query = "a=1&api_key=own&API%5fKEY=own&b=%20;api_key=own&c"
    async with web(world, reflect, auth_type="APIKey", api_key=IN_QUERY) as (service, door):
        await lock(door, ODD_KEY)
        answered = await door.agent.get(f"/web/x?{query}")

        assert await door.canaries("canary") == []
    (asked,) = service.asked
    path, _, query = asked.target.partition("?")
    assert (path, parse_qs(query)["api_key"]) == ("/x", [ODD_KEY])
    assert query.startswith("a=1&c&api_key=")
    assert "canary" not in answered.text


async def test_a_key_is_found_across_the_parts_of_a_streamed_answer(world: World) -> None:
    parts = [b"a ", *(bytes([byte]) for byte in KEY.encode()), b" b sk-can"]

    async def say(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(transfer_encoding="chunked"))
        for part in parts:
            writer.write(chunk(part))
            await writer.drain()
        writer.write(chunk(b""))

    async with web(world, say, auth_type="APIKey") as (_, door):
        await lock(door, KEY)
        answered = await door.agent.get("/web/x")

        assert (await door.responded()).response_bytes == len(answered.content)
    assert answered.text == f"a {STARS} b sk-can"


async def test_what_was_streamed_is_not_held_back_for_what_comes_next(world: World) -> None:
    told = asyncio.Event()

    async def say(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(transfer_encoding="chunked") + chunk(b"data: first\n\n"))
        await told.wait()
        writer.write(chunk(b"data: last\n\n") + chunk(b""))

    async with web(world, say, auth_type="APIKey") as (_, door):
        await lock(door, KEY)
        async with door.agent.stream("GET", "/web/x") as answered:
            parts = answered.aiter_bytes()
            first = await anext(parts)
            told.set()
            rest = b"".join([part async for part in parts])

    assert (first, rest) == (b"data: first\n\n", b"data: last\n\n")


@pytest.mark.parametrize(
    "location",
    [
        'https://x.example/?api_key=sk-canary/+&"x',
        "https://x.example/?api_key=sk-canary%2F%2B%26%22x",
        "https://x.example/?api_key=sk-canary%2f%2b%26%22x",
        "https://x.example/?api_key=%73k-canary%2f+%26%22x",
    ],
)
async def test_no_header_of_an_answer_carries_the_key(world: World, location: str) -> None:
    moved = answer(b"", 302, location=location, set_cookie="session=1", x_key=ODD_KEY)
    async with web(world, moved, auth_type="APIKey", api_key=IN_QUERY) as (service, door):
        await lock(door, ODD_KEY)
        answered = await door.agent.get("/web/x")

    assert (answered.status_code, len(service.asked)) == (302, 1)
    assert "canary" not in str(answered.headers)
    assert "*" in answered.headers["location"]
    assert "set-cookie" not in answered.headers


async def test_an_encoding_in_which_nothing_can_be_hidden_is_not_passed_on(world: World) -> None:
    compressed = answer(KEY.encode(), content_encoding="gzip")
    async with web(world, compressed, auth_type="APIKey") as (_, door):
        await lock(door, KEY)
        answered = await door.agent.get("/web/x")

        assert (await door.responded()).error == answered.json()["error"]
    assert answered.status_code == 502
    assert "gzip" in answered.json()["error"]


async def test_without_a_credential_of_its_own_a_tool_and_an_agent_agree_on_the_encoding(
    world: World,
) -> None:
    own = {"accept-encoding": "br"}
    async with (
        web(world, answer(b"\x1f\x8b", content_encoding="br")) as (service, door),
        door.agent.stream("GET", "/web/x", headers=own) as told,
    ):
        raw = b"".join([part async for part in told.aiter_raw()])

    assert service.asked[0].headers["accept-encoding"] == "br"
    assert (told.headers["content-encoding"], raw) == ("br", b"\x1f\x8b")


async def test_a_credential_that_is_missing_names_the_tool(world: World) -> None:
    async with web(world, reflect, auth_type="APIKey") as (service, door):
        none = await door.agent.get("/web/x")

        reference = await lock(door, KEY)
        await door.session.vault.forget(WORKSPACE, reference)
        lost = await door.agent.get("/web/x")

        errors = [each.error for each in (await door.entries())[1::2]]
    assert none.status_code == lost.status_code == 502
    assert none.json()["error"] == "Tool web has no credential; declare it with one."
    assert lost.json()["error"].startswith("The credential of tool web is not in the vault")
    assert errors == [none.json()["error"], lost.json()["error"]]
    assert service.asked == []


async def test_a_credential_that_cannot_be_decrypted_names_the_tool(world: World) -> None:
    locked = Tool(base_url="http://127.0.0.1:1", auth_type="APIKey", credential="secret_1")
    async with open_door(world, tools={"web": locked}, vault=ClosedVault()) as door:
        answered = await door.agent.get("/web/x")

    assert answered.status_code == 502
    assert answered.json()["error"].startswith("The credential of tool web cannot be decrypted;")


@pytest.mark.parametrize("key", ["a\r\nX-Evil: 1", "ключ", "a\x00"])
async def test_a_key_that_no_header_can_hold_is_not_sent(world: World, key: str) -> None:
    async with web(world, reflect, auth_type="APIKey") as (service, door):
        await lock(door, key)
        answered = await door.agent.get("/web/x")

    assert answered.status_code == 502
    assert key not in answered.json()["error"]
    assert service.asked == []
