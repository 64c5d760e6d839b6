"""A load balancer as small as one can be: connections go to whoever says on `/readyz` it is fit."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import httpx

from tests.accepting import accepting

LOOK_SECONDS = 0.1
ANSWER_SECONDS = 2.0
PIECE = 65_536


class Balancer:
    """Looks every 0.1 s; a connection that was made stays where it is."""

    def __init__(self, servers: Sequence[int]) -> None:
        self.url = ""
        self.fit = [False] * len(servers)
        self.taken = [0] * len(servers)
        self._servers = servers
        self._turn = 0

    async def look(self) -> None:
        """Ask every server whether it is fit, for ever."""
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS) as http, asyncio.TaskGroup() as group:
            for number, port in enumerate(self._servers):
                group.create_task(self._look_at(http, number, port))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection until either side ends it."""
        number = self._choose()
        if number is None:
            return
        with suppress(OSError):
            inner = await asyncio.open_connection("127.0.0.1", self._servers[number])
            self.taken[number] += 1
            async with _closing(inner[1]):
                both = [_relay(reader, inner[1]), _relay(inner[0], writer)]
                tasks = [asyncio.create_task(each) for each in both]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _choose(self) -> int | None:
        """Return the next one that is fit, in turn."""
        for _ in self._servers:
            self._turn = (self._turn + 1) % len(self._servers)
            if self.fit[self._turn]:
                return self._turn
        return None

    async def _look_at(self, http: httpx.AsyncClient, number: int, port: int) -> None:
        while True:
            try:
                answer = await http.get(f"http://127.0.0.1:{port}/readyz")
                self.fit[number] = answer.status_code == 200
            except httpx.TransportError:
                self.fit[number] = False
            await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def balancer(servers: Sequence[int]) -> AsyncGenerator[Balancer]:
    """Balance between ports of this machine, on a free port of it."""
    made = Balancer(servers)
    looking = asyncio.create_task(made.look())
    try:
        async with accepting(made.serve) as port:
            made.url = f"http://127.0.0.1:{port}"
            yield made
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
