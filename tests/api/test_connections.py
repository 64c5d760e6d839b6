"""No request is larger than allowed, and none keeps its connection waiting for ever."""

import asyncio
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from typing import Any

import pytest
import structlog
from litestar import Litestar

from adapters.wiring import Services
from api.app import create_app
from api.bootstrap import bootstrap
from api.connections import MAX_HEAD_BYTES, MAX_HEADERS, Connection
from projections.reads import ReadModels
from tests.api.conftest import BASE, KEY, listening

GIVE_UP_SECONDS = 15
AUTH = f"Authorization: Bearer {KEY}\r\n"
HELLO = f"GET /v1/whoami HTTP/1.1\r\nHost: argosy\r\n{AUTH}\r\n".encode()
POST = f"POST /v1/workspaces HTTP/1.1\r\nHost: argosy\r\n{AUTH}Content-Length: 16\r\n\r\n".encode()
BODY = b'{"slug": "late"}'


class Impatient(Connection):
    """Waits for a moment only."""

    head_seconds = 0.4
    piece_seconds = 0.4
    body_seconds = 1.0
    write_seconds = 0.4


@pytest.fixture
async def app(services: Services, reads: ReadModels) -> Litestar:
    """The application."""
    await bootstrap(services, api_key=KEY)
    return create_app(services, reads, base=BASE)


@pytest.fixture
async def port(app: Litestar) -> AsyncIterator[int]:
    """Where it is served with its real bounds."""
    async with listening(app) as url:
        yield int(url.rpartition(":")[2])


@pytest.fixture
async def impatient(app: Litestar) -> AsyncIterator[int]:
    """Where it is served by somebody impatient."""
    async with listening(app, connection=Impatient) as url:
        yield int(url.rpartition(":")[2])


class Client:
    """A connection whose every byte is ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes, pause: float = 0.0) -> None:
        """Send pieces, with a pause after each."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if pause:
                await asyncio.sleep(pause)

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """Return the next answer's status, headers and JSON."""
        async with asyncio.timeout(GIVE_UP_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
            }
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(first.split()[1]), headers, json.loads(body)

    async def answer_while_sending(
        self, *pieces: bytes, pause: float = 0.0
    ) -> tuple[int, dict[str, str], Any]:
        """Return the next answer, which need not wait for the last piece."""
        sending = asyncio.create_task(self.send(*pieces, pause=pause))
        try:
            return await self.answer()
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await sending

    async def rest(self) -> bytes:
        """Return what comes until the server closes."""
        async with asyncio.timeout(GIVE_UP_SECONDS):
            return await self.reader.read()


type Connect = Callable[[int], Awaitable[Client]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects to a port; closes at the end."""
    clients: list[Client] = []

    async def to(port: int) -> Client:
        clients.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
        return clients[-1]

    yield to
    for client in clients:
        client.writer.close()


@pytest.mark.parametrize(
    "headers",
    [
        f"X-Long: {'a' * MAX_HEAD_BYTES}\r\n",
        f"X-Longer: {'a' * 40 * MAX_HEAD_BYTES}\r\n",
        "X-Many: 1\r\n" * (MAX_HEADERS + 1),
    ],
    ids=["long", "longer than is read at once", "many"],
)
async def test_a_head_that_is_too_large_is_refused(
    connect: Connect, port: int, headers: str
) -> None:
    client = await connect(port)
    await client.send(b"GET /healthz HTTP/1.1\r\nHost: argosy\r\n", headers.encode(), b"\r\n")

    status, sent, problem = await client.answer()

    assert status == 431
    assert sent["content-type"] == "application/problem+json"
    assert problem["type"] == "/problems/head-too-large"
    assert problem["limit"] == MAX_HEAD_BYTES
    assert problem["request_id"] == sent["x-request-id"]
    assert await client.rest() == b""


async def test_a_head_within_its_limits_is_served(connect: Connect, port: int) -> None:
    client = await connect(port)
    await client.send(HELLO[:-2] + f"X-Long: {'a' * (MAX_HEAD_BYTES - 1000)}\r\n\r\n".encode())

    status, _, who = await client.answer()

    assert status == 200
    assert who["role"] == "admin"


async def test_what_is_not_http_gets_a_problem(connect: Connect, port: int) -> None:
    client = await connect(port)
    await client.send(b"\x16\x03\x01 hello\r\n\r\n")

    status, _, problem = await client.answer()

    assert (status, problem["type"]) == (400, "/problems/malformed")
    assert await client.rest() == b""


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(
    connect: Connect, port: int
) -> None:
    client = await connect(port)
    await client.send(POST.replace(b"Length: 16", b"Length: 10000001"))

    status, _, problem = await client.answer()

    assert (status, problem["type"]) == (413, "/problems/too-large")


async def test_a_body_without_a_length_is_read_no_further_than_allowed(
    connect: Connect, port: int
) -> None:
    client = await connect(port)
    await client.send(POST.replace(b"Content-Length: 16", b"Transfer-Encoding: chunked"))

    status, _, problem = await client.answer_while_sending(
        *itertools.repeat(b"10000\r\n" + b" " * 65536 + b"\r\n", 1000)
    )

    assert (status, problem["type"]) == (413, "/problems/too-large")


async def test_who_connects_and_says_nothing_is_hung_up_on(
    connect: Connect, impatient: int
) -> None:
    client = await connect(impatient)

    assert await client.rest() == b""


@pytest.mark.parametrize("before", [b"", HELLO], ids=["first", "later"])
async def test_a_head_that_comes_too_slowly_is_refused(
    connect: Connect, impatient: int, before: bytes
) -> None:
    client = await connect(impatient)
    if before:
        await client.send(before)
        await client.answer()
    began = time.monotonic()
    pieces = [HELLO[at : at + 1] for at in range(10)]

    status, _, problem = await client.answer_while_sending(*pieces, pause=0.1)

    assert (status, problem["type"]) == (408, "/problems/too-slow")
    assert await client.rest() == b""
    assert time.monotonic() - began < 5


async def test_empty_lines_are_no_way_to_stay(connect: Connect, impatient: int) -> None:
    client = await connect(impatient)
    await client.send(HELLO)
    await client.answer()
    await client.send(b"\r\n")

    assert (await client.answer())[0] == 408
    assert await client.rest() == b""


@pytest.mark.parametrize(
    "pieces", [[BODY[:5]], [b"{", *[b" "] * 7]], ids=["a body that stops", "a body that trickles"]
)
async def test_a_body_that_does_not_come_is_refused(
    connect: Connect, impatient: int, pieces: list[bytes]
) -> None:
    client = await connect(impatient)
    await client.send(POST)

    with structlog.testing.capture_logs() as logged:
        status, _, problem = await client.answer_while_sending(*pieces, pause=0.2)
        assert await client.rest() == b""

    assert (status, problem["type"]) == (408, "/problems/too-slow")
    assert not {each["log_level"] for each in logged} & {"warning", "error"}


async def test_a_body_in_pieces_is_served(connect: Connect, port: int) -> None:
    client = await connect(port)
    await client.send(POST, BODY[:4], BODY[4:10], BODY[10:], pause=0.1)

    status, _, made = await client.answer()

    assert (status, made["slug"]) == (201, "late")


async def test_requests_sent_ahead_are_all_served(connect: Connect, impatient: int) -> None:
    client = await connect(impatient)
    await client.send(HELLO * 3 + POST + BODY)

    assert [(await client.answer())[0] for _ in range(4)] == [200, 200, 200, 201]


async def test_a_stream_outlives_all_of_it(connect: Connect, impatient: int) -> None:
    """What the client sends meanwhile, or does not, is no reason to end it."""
    client = await connect(impatient)
    head = HELLO.replace(b"/v1/whoami", b"/v1/events")[:-2] + b"Accept: text/event-stream\r\n\r\n"
    await client.send(head + HELLO[:10])
    await client.reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(1.5)
    other = await connect(impatient)
    await other.send(POST + BODY)
    await other.answer()

    async with asyncio.timeout(GIVE_UP_SECONDS):
        await client.reader.readuntil(b'"slug":"late"')


async def test_a_client_that_takes_nothing_is_hung_up_on(impatient: int) -> None:
    with closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", impatient))
        client.setblocking(False)
        request = HELLO.replace(b"/v1/whoami", b"/schema/openapi.json")

        with pytest.raises(ConnectionError):
            await _ask_for_ever(client, request)


async def _ask_for_ever(client: socket.socket, request: bytes) -> None:
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while True:
            await asyncio.get_running_loop().sock_sendall(client, request * 20)
            await asyncio.sleep(0.02)
