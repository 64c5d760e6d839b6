"""One program in a sandbox: started with its task, or ahead of it."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from workers.harnesses.harness import Launch
from workers.sandboxes.driver import Exit, Output, Sandbox


class Program:
    """Runs from the moment it is made. Leave it to `close`, and then its sandbox.

    waits: it is started ahead (`Launch.early`) and is told its task later.
    """

    def __init__(self, sandbox: Sandbox, launch: Launch, *, waits: bool = False) -> None:
        self._sandbox = sandbox
        self._items = sandbox.run(
            launch.argv,
            stdin=b"" if waits else launch.stdin,
            environment=launch.early if waits else launch.environment,
            keep_stdin=waits,
        )
        self._first = asyncio.ensure_future(anext(self._items))
        self._telling: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_silent(self) -> bool:
        """Whether it has neither ended nor said anything yet: it waits, as it should."""
        return not self._first.done()

    def when_heard(self, call: Callable[[], None]) -> None:
        """Have `call` called when it is not silent any more."""
        self._first.add_done_callback(lambda _: call())

    def tell(self, launch: Launch) -> None:
        """Give a program that waits its task."""
        self._telling = asyncio.create_task(self._tell(launch.stdin))

    async def output(self) -> AsyncGenerator[Output | Exit]:
        """Yield what it writes and, last, one Exit. Raises what its start was refused with."""
        yield await self._first
        async for item in self._items:
            yield item

    async def close(self) -> None:
        """Stop reading it."""
        self._first.cancel()
        self._telling.cancel()
        await asyncio.gather(self._first, self._telling, return_exceptions=True)
        await self._items.aclose()

    async def _tell(self, data: bytes) -> None:
        await self._sandbox.write(data)
        await self._sandbox.close_stdin()
