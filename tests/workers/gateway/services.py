"""Real HTTP servers on loopback that answer as a test says, byte by byte if need be."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from msgspec import Struct

from tests.accepting import accepting


class Asked(Struct):
    """A request as it arrived. `rest`: what comes after it, at last the end."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    rest: asyncio.StreamReader

    @property
    def json(self) -> Any:
        """The body's JSON."""
        return msgspec.json.decode(self.body)


type Answering = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]
"""Writes an answer; the connection is closed afterwards."""


class Service(Struct):
    """A server; `asked`: what it was asked so far."""

    url: str
    asked: list[Asked]


@asynccontextmanager
async def serving(answering: Answering) -> AsyncGenerator[Service]:
    """A server while the block lasts."""
    asked: list[Asked] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            asked.append(await _read(reader))
            await answering(asked[-1], writer)
            await writer.drain()

    async with accepting(serve) as port:
        yield Service(f"http://127.0.0.1:{port}", asked)


async def _read(reader: asyncio.StreamReader) -> Asked:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    pairs = (line.split(": ", 1) for line in lines[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body, reader)


def answer(body: bytes = b"", status: int = 200, **headers: str) -> Answering:
    """Answer always the same; `headers` with `_` for `-`."""

    async def say(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, content_length=str(len(body)), **headers) + body)

    return say


def answer_json(content: object, status: int = 200, **headers: str) -> Answering:
    """Answer always the same JSON."""
    return answer(msgspec.json.encode(content), status, content_type="application/json", **headers)


async def reflect(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Answer what was asked, as JSON."""
    await answer_json(
        {"method": asked.method, "target": asked.target, "headers": asked.headers}
        | {"body": asked.body.decode("latin-1")}
    )(asked, writer)


def head(status: int = 200, **headers: str) -> bytes:
    """Return an answer's head."""
    lines = [f"HTTP/1.1 {status} Said", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunk(data: bytes) -> bytes:
    """Return data as one chunk of a chunked answer."""
    return b"%x\r\n%s\r\n" % (len(data), data)
