"""A model provider on loopback that does what it is told, to the byte: late, by halves, wrong.

It runs in a thread of its own, so that tests of any kind can use it, and every answer closes its
connection unless it is told otherwise.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
from msgspec import Struct

from tests.accepting import accepting

type Answering = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Request(Struct):
    """What the provider was sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


class FakeProvider:
    """Answers each request with the next of `answers`, the last one for ever.

    requests: those that came. ended: set when a client closed its connection before the answer's
    end. waiting: set while an answer waits for `go_on`.
    """

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Request] = []
        self.answers: list[Answering] = [json_answer({})]
        self.ended = threading.Event()
        self.waiting = threading.Event()
        self.go_on = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event

    @property
    def url(self) -> str:
        """Base URL, as a provider document names it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def will(self, *answers: Answering) -> None:
        """Answer so from now on."""
        self.answers = list(answers)

    def held(self, first: Answering, then: Answering) -> Answering:
        """Answer `first`, and `then` once the test sets `go_on`."""

        async def answer(writer: asyncio.StreamWriter) -> None:
            await first(writer)
            self.waiting.set()
            await asyncio.to_thread(self.go_on.wait, 60)
            await then(writer)

        return answer

    def run(self, ready: threading.Event) -> None:
        """Serve until `stop`."""
        asyncio.run(self._run(ready))

    def stop(self) -> None:
        """End; from another thread."""
        self.go_on.set()
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def _run(self, ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with accepting(self._serve) as self.port:
            ready.set()
            await self._stopping.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            async for request in _requests(reader):
                self.requests.append(request)
                answering = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                leaving = asyncio.create_task(self._watch(reader))
                try:
                    await answering(writer)
                    await writer.drain()
                finally:
                    leaving.cancel()
                if not getattr(answering, "keeps", False):
                    break

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        """Note that the client has left; clients here say nothing before they are answered."""
        while not reader.at_eof():  # noqa: ASYNC110 - a reader tells nobody
            await asyncio.sleep(0.005)
        self.ended.set()


@contextmanager
def open_provider() -> Generator[FakeProvider]:
    """A provider that listens."""
    provider, ready = FakeProvider(), threading.Event()
    thread = threading.Thread(target=provider.run, args=(ready,))
    thread.start()
    assert ready.wait(10)
    try:
        yield provider
    finally:
        provider.stop()
        thread.join(10)


def json_answer(content: Any, status: int = 200, headers: Mapping[str, str] = {}) -> Answering:
    """A whole answer in JSON; the connection stays open for the next request."""
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    head = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    return _keeping(raw(_head(status, head) + body))


def stream_answer(
    pieces: Iterable[bytes], headers: Mapping[str, str] = {}, *, ended: bool = True
) -> Answering:
    """A streamed answer, each piece a chunk; without its end the connection breaks."""
    head = {"content-type": "text/event-stream", "transfer-encoding": "chunked", **headers}
    parts = [_head(200, head), *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)]
    return _keeping(raw(*parts, b"0\r\n\r\n")) if ended else raw(*parts)


def raw(*parts: bytes) -> Answering:
    """Bytes as they are, each written by itself."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return answer


def events(*contents: Any, named: bool = False) -> list[bytes]:
    """Server-sent events with JSON in them, or a text as it is. `named`: as Anthropic's are."""
    return [
        (f"event: {content['type']}\n".encode() if named else b"")
        + b"data: "
        + (content.encode() if isinstance(content, str) else msgspec.json.encode(content))
        + b"\n\n"
        for content in contents
    ]


def _keeping(answering: Answering) -> Answering:
    setattr(answering, "keeps", True)  # noqa: B010 - a mark for the server above
    return answering


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Answer\r\n{lines}\r\n".encode()


async def _requests(reader: asyncio.StreamReader) -> AsyncIterator[Request]:
    while head := await _read_head(reader):
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        method, path, _ = first.split(" ")
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        yield Request(method, path, headers, body)


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
