"""The host's ends of a program's pipes: input is fed, output read only as fast as consumed."""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Literal

from workers.sandboxes.driver import Output

CHUNK = 65_536

type Stream = Literal["stdout", "stderr", "channel"]


class Feed:
    """The writing end of a pipe; owns the descriptor."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor: int | None = descriptor
        self._turn = asyncio.Lock()
        self._waiting: asyncio.Future[None] | None = None

    async def send(self, data: bytes) -> None:
        """Write all of it; returns early when nobody will ever read it."""
        async with self._turn:
            rest = memoryview(data)
            while rest and self._descriptor is not None:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    await self._writable(self._descriptor)
                except BrokenPipeError:
                    self.close()

    def close(self) -> None:
        """End of input. Harmless when repeated; wakes a `send` that waits."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            asyncio.get_running_loop().remove_writer(descriptor)
            os.close(descriptor)
        self._wake()

    async def _writable(self, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        loop.add_writer(descriptor, self._wake)
        try:
            await self._waiting
        finally:
            self._waiting = None
            if self._descriptor is not None:
                loop.remove_writer(descriptor)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Outputs:
    """The reading ends of a program's pipes; owns the descriptors.

    Nothing is buffered here: while nobody iterates the program's writes fill the kernel's pipes
    (64 KiB each) and then wait.
    """

    def __init__(self, streams: Mapping[int, Stream]) -> None:
        for descriptor in streams:
            os.set_blocking(descriptor, False)
        self._open = dict(streams)
        self._changed = asyncio.Event()
        self._ended = False

    def end(self) -> None:
        """Say that every writer is gone: what the pipes hold is all there will be."""
        self._ended = True
        self._changed.set()

    async def read(self) -> AsyncGenerator[Output]:
        """Yield what comes, until all pipes are closed, or are empty after `end`."""
        while self._open:
            ended = self._ended
            found = False
            for descriptor in tuple(self._open):
                if (output := self._take(descriptor)) is not None:
                    found = True
                    yield output
            if found:
                await asyncio.sleep(0)  # a program that never stops printing is not alone here
            elif ended:
                return
            elif self._open:
                await self._readable()

    def take_first(self, stream: Stream, size: int) -> bytes | None:
        """At most `size` bytes of one stream, if any are there: b"" at its end, None if not yet."""
        descriptor = next(number for number, name in self._open.items() if name == stream)
        try:
            return os.read(descriptor, size)
        except BlockingIOError:
            return None

    async def wait(self) -> None:
        """Return when there is something to read, or an end."""
        await self._readable()

    def close(self) -> None:
        for descriptor in tuple(self._open):
            self._close(descriptor)
        self._changed.set()

    def _take(self, descriptor: int) -> Output | None:
        stream = self._open.get(descriptor)
        if stream is None:
            return None
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return None
        if not data:
            self._close(descriptor)
            return None
        return Output(stream, data)

    async def _readable(self) -> None:
        if self._ended:
            return
        loop = asyncio.get_running_loop()
        self._changed.clear()
        watched = tuple(self._open)
        for descriptor in watched:
            loop.add_reader(descriptor, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            for descriptor in watched:
                if descriptor in self._open:
                    loop.remove_reader(descriptor)

    def _close(self, descriptor: int) -> None:
        del self._open[descriptor]
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


async def read_until(descriptor: int, mark: bytes) -> bytes | None:
    """What a pipe says up to and with the first piece that has `mark`; None if it ends before."""
    os.set_blocking(descriptor, False)
    loop = asyncio.get_running_loop()
    said = b""
    while mark not in said:
        try:
            piece = os.read(descriptor, CHUNK)
        except BlockingIOError:
            readable = asyncio.Event()
            loop.add_reader(descriptor, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(descriptor)
            continue
        if not piece:
            return None
        said += piece
    return said
