"""Connecting a build's door to what it was asked for, maybe through the operator's own proxy."""

import asyncio
import socket
import ssl
from base64 import b64encode
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from domain.urls import DEFAULT_PORTS
from workers.builder.door.requests import HEAD_BYTES, Asked, spelled
from workers.builder.indexes import Place

RESOLVE_SECONDS = 15.0
CONNECT_SECONDS = 10.0  # for each address, and for a proxy's answer

type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect_directly(asked: Asked) -> Streams:
    """Connect, and say what is asked for, if that is known. Raises OSError."""
    opened = await _open(asked.place)
    reader, writer = await asyncio.open_connection(sock=opened)
    if asked.path:
        writer.write(asked.head(asked.path))
    return reader, writer


async def connect_through(proxy: str, asked: Asked) -> Streams:
    """Connect through a proxy, which looks the host up itself, and say to it what is asked for.

    Raises OSError.
    """
    place, parts = place_of(proxy), urlsplit(proxy)
    context = ssl.create_default_context() if parts.scheme == "https" else None
    reader, writer = await asyncio.open_connection(
        sock=await _open(place),
        limit=HEAD_BYTES,
        ssl=context,
        server_hostname=place[0] if context else None,
    )
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        authorization = f"Proxy-Authorization: Basic {b64encode(pair).decode()}\r\n"
    try:
        if asked.path:
            writer.write(asked.head(asked.url, authorization))
        else:
            await _tunnel(reader, writer, spelled(asked.place), authorization)
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


def place_of(proxy: str) -> Place:
    """Return where a proxy listens."""
    parts = urlsplit(proxy)
    return parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]


async def _tunnel(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, authorization: str
) -> None:
    writer.write(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n{authorization}\r\n".encode())
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            answer = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise ConnectionError("it does not answer as a proxy does") from None
    status = answer[9:12].decode("latin-1")
    if not status.startswith("2"):
        raise ConnectionError(f"it answered with {status} for {name}")


async def _open(place: Place) -> socket.socket:
    """Return a socket that is connected to the first address that answers. Raises OSError."""
    host, port = place
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(RESOLVE_SECONDS):
        found = await loop.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    error: OSError = ConnectionError("it has no address")
    for *_, address in found:
        try:
            return await _connect(str(address[0]), port)
        except OSError as failed:
            error = failed
    raise error


async def _connect(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setblocking(False)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(opened, (address, port))
    except BaseException:
        opened.close()
        raise
    return opened
