"""A build's door: the one socket by which uv, in its sandbox, reaches the package index.

It is an HTTP proxy (RFC 9110: CONNECT, and absolute URLs for what has no TLS) that connects to the
hosts of the index alone. These are named by the operator, and whoever is named may have any address
(docs/decisions/0019). TLS is between uv and the index: nothing is read here. Does not protect
against other services at the same host and port, nor against what the index itself passes on.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from workers.builder.door.connections import (
    Streams,
    connect_directly,
    connect_through,
    place_of,
)
from workers.builder.door.requests import HEAD_BYTES, Asked, Refused, read_request, spelled
from workers.builder.failures import Failure
from workers.builder.indexes import HOSTS_SETTING, PackageIndex, Place
from workers.gateway.server import NO_FILES_SECONDS, listen_in

CONNECTIONS = 96  # uv makes 50 at once
IDLE_SECONDS = 120.0
PIECE = 256 << 10

# TimeoutError is an OSError; uvloop has RuntimeErrors where asyncio has those.
_GONE = (OSError, RuntimeError)


class Door:
    """The door of one program, and what it could not get through it.

    refusal: of the first place that it was not let out to; without a step.
    unreached: what could not be connected to, in words.
    """

    def __init__(self, index: PackageIndex) -> None:
        self.refusal: Failure | None = None
        self.unreached: list[str] = []
        self._index = index
        self._room = asyncio.Semaphore(CONNECTIONS)

    async def accept(self, listener: socket.socket) -> None:
        """Take connections for ever; those there is no room for wait in the kernel."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._room.acquire()
                try:
                    accepted, _ = await loop.sock_accept(listener)
                except OSError:  # no files are left
                    self._room.release()
                    await asyncio.sleep(NO_FILES_SECONDS)
                else:
                    group.create_task(self._serve(accepted))

    async def _serve(self, accepted: socket.socket) -> None:
        try:
            with suppress(*_GONE):
                ours = await asyncio.open_unix_connection(sock=accepted, limit=HEAD_BYTES)
                try:
                    await self._answer(ours)
                except BaseException:
                    ours[1].transport.abort()  # asyncio breaks where it is closed already
                    raise
        finally:
            accepted.close()
            self._room.release()

    async def _answer(self, ours: Streams) -> None:
        reader, writer = ours
        try:
            asked = await read_request(reader)
            self._check(asked.place)
            theirs = await self._connect(asked)
        except Refused as refused:
            writer.write(refused.answer())
            await _close(writer)
            return
        try:
            if not asked.path:
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            await _join(ours, theirs, tunnel=not asked.path)
            await _close(writer)
        finally:
            theirs[1].transport.abort()

    def _check(self, place: Place) -> None:
        if place in self._index.places:
            return
        name = spelled(place)
        known = ", ".join(map(spelled, sorted(self._index.places)))
        detail = f"The package index sends builds to {name}, which is none of its hosts ({known})."
        hint = f"If its files are there, an operator can name {name} in {HOSTS_SETTING}."
        self.refusal = self.refusal or Failure(step="", detail=detail, hint=hint)
        raise Refused(403, detail)

    async def _connect(self, asked: Asked) -> Streams:
        """Return a connection that takes what the client says next. Raises Refused."""
        proxy = self._index.proxy(asked.scheme, asked.place)
        try:
            if proxy:
                return await connect_through(proxy, asked)
            return await connect_directly(asked)
        except OSError as error:
            place = place_of(proxy) if proxy else asked.place
            words = f"{spelled(place)} could not be connected to: {why(error)}"
            if words not in self.unreached:
                self.unreached.append(words)
            raise Refused(502, words) from None


@asynccontextmanager
async def open_door(index: PackageIndex, directory: Path) -> AsyncGenerator[Door]:
    """Open a door at `directory`, which a sandbox shows as its gateway's; closed on leaving."""
    door = Door(index)
    with listen_in(directory) as listener:
        accepting = asyncio.create_task(door.accept(listener))
        try:
            yield door
        finally:
            accepting.cancel()
            await asyncio.wait([accepting])
    if not accepting.cancelled():
        accepting.result()


async def _join(ours: Streams, theirs: Streams, *, tunnel: bool) -> None:
    """Pass bytes on until the other side has said all, or nobody says anything.

    tunnel: both ways. Else nothing but the request that was judged goes out: the operator's proxy
    might take what follows for a request to somewhere else.
    """
    async with asyncio.timeout(IDLE_SECONDS) as idle:
        down = _pass_on(theirs[0], ours[1], idle)
        if not tunnel:
            await down
            return
        up = asyncio.create_task(_pass_on(ours[0], theirs[1], idle))
        try:
            await down
        finally:
            up.cancel()
            await asyncio.wait([up])


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: asyncio.Timeout
) -> None:
    loop = asyncio.get_running_loop()
    with suppress(*_GONE):
        while data := await reader.read(PIECE):
            idle.reschedule(loop.time() + IDLE_SECONDS)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close it when the client has taken what was written."""
    writer.close()
    async with asyncio.timeout(IDLE_SECONDS):
        await writer.wait_closed()


def why(error: OSError) -> str:
    """Return in a few words why nobody could be connected to."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return (error.strerror or str(error)).lower()
