"""What the gateway's tests share: a session that only remembers, and a client of its socket."""

import asyncio
import json
import socket
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from adapters.scratch import remove_tree
from domain.catalog import ModelProvider, Policy, Tool
from domain.deployments import Settings
from domain.entries import RunEntry
from domain.errors import NotFound
from domain.runs import Reason
from workers.gateway.allowances import GatewayLimits
from workers.gateway.exchange import Exchange
from workers.gateway.outbound import Answer, OutboundFailed
from workers.gateway.reports import Reports
from workers.gateway.routes import find_handler
from workers.gateway.server import SOCKET, Gateway
from workers.gateway.session import Handler, Session


class Book:
    """A journal in memory."""

    def __init__(self) -> None:
        self.entries: list[RunEntry] = []

    def add(self, entries: Sequence[RunEntry]) -> None:
        self.entries += entries

    async def store(self, entries: Sequence[RunEntry]) -> None:
        self.add(entries)


class NoDocuments:
    """A workspace without any document."""

    async def tool(self, name: str) -> Tool | None:
        return None

    async def policies(self, names: Sequence[str]) -> Mapping[str, Policy]:
        return {}

    async def model_providers(self) -> Mapping[str, ModelProvider]:
        return {}


class NoVault:
    """A vault without any secret."""

    async def put(self, scope: str, secret: str) -> str:
        raise NotFound("There is no vault.")

    async def reveal(self, scope: str, reference: str) -> str:
        raise NotFound("There is no vault.")

    async def forget(self, scope: str, reference: str) -> None:
        raise NotFound("There is no vault.")


class Nowhere:
    """A world in which nobody answers."""

    @asynccontextmanager
    async def request(self, method: str, url: str, **given: Any) -> AsyncGenerator[Answer]:
        raise OutboundFailed("Nobody answers.")
        yield


def make_session(journal: Book, settings: Settings | None = None) -> Session:
    """A session of a run that has nothing."""
    ends: list[tuple[Reason, str]] = []
    return Session(
        run_id="run-1",
        workspace_id="workspace-1",
        agent_name="echo",
        user_id="",
        settings=settings or Settings(),
        documents=NoDocuments(),
        journal=journal,
        vault=NoVault(),
        outbound=Nowhere(),
        end_run=lambda reason, detail: ends.append((reason, detail)),
    )


@contextmanager
def short_directory() -> Generator[Path]:
    """A directory that every uid may enter."""
    directory = Path(tempfile.mkdtemp(prefix="argosy-gateway-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        remove_tree(directory)


class Door:
    """An open gateway, from the agent's side."""

    def __init__(self, directory: Path, book: Book) -> None:
        self.socket = str(directory / SOCKET)
        self.book = book

    def client(self, **given: Any) -> httpx.AsyncClient:
        """An HTTP client of it."""
        limits = httpx.Limits(max_connections=None)
        transport = httpx.AsyncHTTPTransport(uds=self.socket, limits=limits)
        return httpx.AsyncClient(transport=transport, base_url="http://gateway", **given)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection to it."""
        return await asyncio.open_unix_connection(self.socket)

    async def say(self, data: bytes | Iterable[bytes], seconds: float = 10) -> bytes:
        """Send bytes, as far as they are taken, and return all that comes until the end."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.setblocking(False)
            await loop.sock_connect(connection, self.socket)
            sending = asyncio.create_task(_send(connection, data))
            try:
                async with asyncio.timeout(seconds):
                    return await _receive(connection)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)


async def _send(connection: socket.socket, data: bytes | Iterable[bytes]) -> None:
    with suppress(OSError):
        for piece in [data] if isinstance(data, bytes) else data:
            await asyncio.get_running_loop().sock_sendall(connection, piece)


async def _receive(connection: socket.socket) -> bytes:
    answer = b""
    with suppress(OSError):
        while piece := await asyncio.get_running_loop().sock_recv(connection, 65_536):
            answer += piece
    return answer


@asynccontextmanager
async def opened(
    limits: GatewayLimits | None = None,
    *handlers: tuple[str, Handler],
    gateway: Gateway | None = None,
) -> AsyncGenerator[Door]:
    """A gateway for one sandbox; `handlers` by path, beside those there always are."""
    table = dict(handlers)

    def find(method: str, path: str, reports: Reports) -> Handler:
        return table.get(path) or find_handler(method, path, reports)

    book = Book()
    with short_directory() as directory:
        gateway = gateway or Gateway(limits, find=find)
        async with gateway.open(make_session(book), directory):
            yield Door(directory, book)


CLOSE = b"\r\nconnection: close\r\n"
GET = b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n"


def status(answer: bytes) -> int:
    """The status of an answer's bytes."""
    return int(answer.split(b" ", 2)[1])


def body(answer: bytes) -> Any:
    """The JSON of an answer's bytes."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])


async def one_answer(reader: asyncio.StreamReader) -> bytes:
    """Read one answer that says its length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length")
    )
    return head + await reader.readexactly(length)


async def until(true: Callable[[], object], seconds: float = 10) -> None:
    """Return as soon as `true()` is."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for says nothing
            await asyncio.sleep(0.005)


async def echo(session: Session, exchange: Exchange) -> None:
    """Answer a body with itself."""
    await exchange.respond(200, await exchange.body(), "text/plain")
