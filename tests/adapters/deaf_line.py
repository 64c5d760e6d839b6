"""A line to a server that can go deaf: what is said on it vanishes, and nothing closes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.accepting import accepting


class Line:
    """`url`: where the server is reached through it."""

    def __init__(self, target: str) -> None:
        self.url = ""
        self.deaf = False
        self._parts = urlsplit(target)
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what one client and the server say."""
        there, back = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._writers += [writer, back]
        await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if not self.deaf:
                    writer.write(data)
        except OSError:
            pass
        if not self.deaf:
            writer.close()

    def hang_up(self) -> None:
        """Close what is open."""
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def deaf_line(target: str) -> AsyncGenerator[Line]:
    """Open a line to where a URL points."""
    line = Line(target)
    there = urlsplit(target).netloc.rpartition("@")[2]
    async with accepting(line.serve) as port:
        line.url = target.replace(there, f"127.0.0.1:{port}", 1)
        try:
            yield line
        finally:
            line.hang_up()
