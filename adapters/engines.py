"""A container engine (Docker, Podman) by its API's socket, as far as builds need it.

The API is Docker's, https://docs.docker.com/reference/api/engine/; Podman's socket speaks it, too.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import IO, Any

import aiohttp
import msgspec
from aiodocker import Docker, DockerError
from msgspec import Struct

from domain.errors import Unavailable

CONNECT_SECONDS = 10.0
PIECE_BYTES = 1 << 20
MAX_MESSAGE_BYTES = 1 << 20  # of a build, in one line of JSON


class BuildFailed(Exception):
    """The engine could not build an image. The text is the engine's."""


class TooLarge(Exception):
    """An image is larger than what was allowed."""


class _Message(Struct):
    stream: str = ""
    error: str = ""


class Engine:
    """An engine that answers. All methods raise Unavailable where it does not any more."""

    def __init__(self, docker: Docker) -> None:
        self._docker = docker

    async def has(self, name: str) -> bool:
        """Whether it has an image."""
        with _heard("looking for an image"):
            try:
                await self._docker.images.inspect(name)
            except DockerError as error:
                if error.status == 404:
                    return False
                raise
        return True

    async def load(self, archive: IO[bytes]) -> None:
        """Give it images, as an archive that `docker load` takes."""
        images: Any = self._docker.images  # untyped there
        with _heard("taking an image"):
            await images.import_image(_pieces(archive))

    async def build(self, context: IO[bytes], **options: str) -> AsyncGenerator[str]:
        """Build an image from an archive with a Dockerfile; yield what is printed, as it comes.

        options: of `POST /build`. Ends the build when the iteration is left. Raises BuildFailed.
        """
        with _heard("building"):
            # The library's own `build` has no limits and no network among its options.
            sending = self._docker.session.post(
                "http://engine/build",
                params=options,
                data=_pieces(context),
                headers={"content-type": "application/x-tar"},
            )
            async with sending as answer:
                if answer.status != 200:
                    raise BuildFailed(_reason(await answer.content.read(PIECE_BYTES)))
                async for message in _messages(answer.content):
                    if message.error:
                        raise BuildFailed(message.error)
                    yield message.stream

    async def save(self, name: str, into: IO[bytes], most: int) -> None:
        """Write an image to a file, as `docker save` does. Raises TooLarge beyond `most` bytes."""
        with _heard("handing an image out"):
            # The library's own `export_image` keeps its connection when it is left by an error.
            getting = self._docker.session.get(f"http://engine/images/{name}/get")
            async with getting as answer:
                if answer.status != 200:
                    said = _reason(await answer.content.read(PIECE_BYTES))
                    raise Unavailable(f"The container engine has no image to hand out: {said}")
                async for piece in answer.content.iter_chunked(PIECE_BYTES):
                    most -= len(piece)
                    if most < 0:
                        raise TooLarge
                    await asyncio.to_thread(into.write, piece)
            into.flush()

    async def remove(self, name: str) -> None:
        """Forget an image; harmless if there is none."""
        with _heard("removing an image"):
            try:
                await self._docker.images.delete(name, force=True)
            except DockerError as error:
                if error.status != 404:
                    raise

    async def remove_old(self, label: str, seconds: int) -> None:
        """Forget the images with a label that are older than so long."""
        oldest = time.time() - seconds
        with _heard("removing images"):
            images: Any = self._docker.images  # untyped there
            for image in await images.list(filters={"label": [label]}):
                if image["Created"] < oldest:
                    await self.remove(image["Id"])


@asynccontextmanager
async def open_engine(url: str) -> AsyncGenerator[Engine]:
    """Open the engine of the setting ARGOSY_ENGINE. Raises Unavailable."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    async with Docker(url, timeout=timeout) as docker:
        with _heard("answering"):
            await docker.version()
        yield Engine(docker)


@contextmanager
def _heard(what: str) -> Generator[None]:
    """Say in our words that the engine does not answer, or refuses."""
    try:
        yield
    except DockerError as error:
        said = error.message.strip().rstrip(".")
        raise Unavailable(f"The container engine failed ({what}): {said}.") from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unavailable(f"The container engine failed ({what}): {error}.") from error


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        yield piece


async def _messages(content: aiohttp.StreamReader) -> AsyncIterator[_Message]:
    """Yield what the engine says, a line of JSON each."""
    pending = b""
    async for piece in content.iter_any():
        *lines, pending = (pending + piece).split(b"\n")
        for line in lines:
            if message := _message(line):
                yield message
        if len(pending) > MAX_MESSAGE_BYTES:
            raise BuildFailed("The engine's answer cannot be read: a line of it is too long.")
    if message := _message(pending):
        yield message


def _message(line: bytes) -> _Message | None:
    if not line.strip():
        return None
    try:
        return msgspec.json.decode(line, type=_Message)
    except msgspec.MsgspecError as error:
        raise BuildFailed(f"The engine's answer cannot be read: {error}") from error


def _reason(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body, type=dict[str, Any]).get("message", ""))
    except msgspec.MsgspecError:
        return body[:500].decode("utf-8", "replace")
