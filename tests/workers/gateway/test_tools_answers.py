"""Answers of tools: streamed with back-pressure, and never a half that looks whole."""

import asyncio
import hashlib

import httpx
import pytest
from msgspec.structs import replace

from domain.catalog import Tool
from domain.entries import ToolResponded
from domain.limits import Limits
from tests.workers.gateway.doors import Door, open_door, web
from tests.workers.gateway.services import Answering, Asked, chunk, head, reflect, serving
from tests.workers.worlds import World, eventually

PART = bytes(range(256)) * 256  # 64 KiB
LARGE = 20 * 1024 * 1024


@pytest.fixture
def world(quiet_world: World) -> World:
    return quiet_world


async def send_large(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Answer 20 MB in chunks, as fast as they are taken."""
    writer.write(head(transfer_encoding="chunked"))
    for _ in range(LARGE // len(PART)):
        writer.write(chunk(PART))
        await writer.drain()
    writer.write(chunk(b""))


async def test_twenty_megabytes_pass_both_ways(world: World) -> None:
    body = PART * (LARGE // len(PART))

    async def weigh(asked: Asked, writer: asyncio.StreamWriter) -> None:
        assert hashlib.sha256(asked.body).digest() == hashlib.sha256(body).digest()
        await send_large(asked, writer)

    async with web(world, weigh) as (_, door):
        answered = await door.agent.post("/web/x", content=body)

        requested, responded = await door.requested(), await door.responded()
    assert answered.content == body
    assert requested.payload_hash == hashlib.sha256(body).hexdigest()
    assert (responded.response_bytes, responded.error) == (LARGE, "")
    assert responded.milliseconds > 0


async def test_a_body_that_is_too_large_is_refused(world: World) -> None:
    async with web(world, reflect) as (service, door):
        answered = await door.agent.post("/web/x", content=b"x" * (LARGE + 1))

    assert answered.status_code == 413
    assert service.asked == []


async def test_an_agent_that_does_not_read_slows_the_tool_down(world: World) -> None:
    written = 0
    stuck = asyncio.Event()

    async def pour(_: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(head(transfer_encoding="chunked"))
        while written < 20 * LARGE:
            writer.write(chunk(PART))
            try:
                async with asyncio.timeout(1):
                    await writer.drain()
            except TimeoutError:
                stuck.set()
                return
            written += len(PART)

    async with web(world, pour) as (_, door):
        async with door.agent.stream("GET", "/web/x") as answered:
            parts = answered.aiter_raw()
            await anext(parts)
            async with asyncio.timeout(10):
                await stuck.wait()
        await eventually(lambda: _recorded(door, "hung up"))

    assert written < LARGE


async def _recorded(door: Door, error: str) -> bool:
    entries = await door.entries()
    return any(isinstance(each, ToolResponded) and error in each.error for each in entries)


def says(data: bytes) -> Answering:
    """Answer exactly these bytes."""

    async def say(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return say


CHUNKED = head(transfer_encoding="chunked")


@pytest.mark.parametrize(
    "answering",
    [
        pytest.param(says(head(content_length="100") + b"half"), id="fewer bytes than announced"),
        pytest.param(says(CHUNKED + chunk(b"half")), id="no last chunk"),
        pytest.param(says(CHUNKED + chunk(b"half") + b"8\r\nhalf"), id="half a chunk"),
        pytest.param(says(CHUNKED + chunk(b"half") + b"zz\r\nno\r\n"), id="no chunk size"),
    ],
)
async def test_half_an_answer_never_looks_whole(world: World, answering: Answering) -> None:
    async with web(world, answering) as (_, door):
        try:
            status = (await door.agent.get("/web/x")).status_code
        except httpx.RemoteProtocolError:
            status = 0

        responded = await door.responded()
    assert status in {0, 502}  # as what is wrong was seen after the head was passed on, or before
    assert responded.error.startswith("Tool web: ")


@pytest.mark.parametrize(
    "answering",
    [
        pytest.param(says(b""), id="nothing"),
        pytest.param(says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), id="no HTTP"),
        pytest.param(says(b"HTTP/1.1 200 OK\r\nno header\r\n\r\n"), id="no headers"),
    ],
)
async def test_what_is_no_answer_is_told_as_such(world: World, answering: Answering) -> None:
    async with web(world, answering) as (_, door):
        answered = await door.agent.get("/web/x")

        responded = await door.responded()
    assert answered.status_code == 502
    assert answered.json()["error"].startswith("Tool web: ")
    assert (responded.status, responded.error) == (0, answered.json()["error"])


async def test_a_tool_that_is_not_there_is_told_as_such(world: World) -> None:
    async with web(world, reflect) as (service, door):
        async with serving(reflect) as gone:
            pass
        door.shelf.tools["web"] = replace(door.shelf.tools["web"], base_url=gone.url)
        answered = await door.agent.get("/web/x")

        assert (await door.responded()).error == answered.json()["error"]
    assert answered.status_code == 502
    assert service.asked == []


async def test_a_tool_where_no_agent_may_be_is_not_called(world: World) -> None:
    metadata = Tool(base_url="http://169.254.169.254", topology="Internal")
    async with open_door(world, tools={"web": metadata}) as door:
        answered = await door.agent.get("/web/latest/meta-data/")

        assert (await door.responded()).error == answered.json()["error"]
    assert answered.status_code == 502
    assert "not on the public internet" in answered.json()["error"]


async def test_headers_pass_byte_by_byte_both_ways(world: World) -> None:
    head_ = b"HTTP/1.1 200 OK\r\nX-A: \xd0\xba\r\nX-B: \xff\r\nContent-Length: 2\r\n\r\nok"
    async with web(world, says(head_)) as (service, door):
        answered = await door.agent.get("/web/x", headers=[(b"x-a", b"\xd0\xba")])

    assert answered.text == "ok"
    assert {(b"x-a", b"\xd0\xba"), (b"x-b", b"\xff")} <= set(answered.headers.raw)
    assert service.asked[0].headers["x-a"].encode("latin-1") == b"\xd0\xba"


async def test_a_tool_that_does_not_begin_to_answer_is_too_slow(world: World) -> None:
    async def wait(_: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with (
        serving(wait) as service,
        open_door(
            world, tools={"web": Tool(base_url=service.url)}, limits=Limits(seconds=1)
        ) as door,
    ):
        answered = await door.agent.get("/web/x")

        assert (await door.responded()).error == answered.json()["error"]
    assert answered.status_code == 504
    assert answered.json()["error"] == "Tool web did not begin to answer within 1 s."


async def test_a_tool_hears_when_the_agent_hangs_up(world: World) -> None:
    called, hung_up = asyncio.Event(), asyncio.Event()

    async def wait(asked: Asked, _: asyncio.StreamWriter) -> None:
        called.set()
        await asked.rest.read()
        hung_up.set()

    async with web(world, wait) as (_, door):
        call = asyncio.create_task(door.agent.get("/web/x"))
        await called.wait()
        call.cancel()
        await eventually(lambda: _recorded(door, "hung up"))
        async with asyncio.timeout(10):
            await hung_up.wait()


async def test_answers_without_a_body_keep_their_heads(world: World) -> None:
    length = head(content_length="1234", etag="x")
    async with web(world, says(length)) as (_, door):
        answered = await door.agent.head("/web/x")
    async with web(world, says(head(304, content_length="1234", etag="x"))) as (_, door):
        unchanged = await door.agent.get("/web/x")

    assert (answered.status_code, answered.headers["content-length"]) == (200, "1234")
    assert (unchanged.status_code, unchanged.headers["etag"]) == (304, "x")
