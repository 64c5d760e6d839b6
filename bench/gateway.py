"""A model call through the gateway against the same call made directly.

Ours: an agent's request on its sandbox's socket, judged, unlocked, sent, its answer passed back and
written down, by a gateway in a process of its own. The other side: the same request from the same
process to the provider, on a connection that is kept open too. The provider is a third process on
loopback that answers at once, so that nothing but the way is measured.
"""

import asyncio
import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self, cast

import psutil
import uvloop
from msgspec import Struct

from bench.connections import free_port
from domain.catalog import ModelProvider
from domain.entries import RunEntry
from tests.workers.gateway.worlds import STORED, open_session
from tests.workers.gateways import Book, short_directory
from workers.gateway.server import SOCKET, Gateway

ROUNDS = 400  # calls of each kind, in turns
AT_ONCE = 100
AT_ONCE_ROUNDS = 5
THINKING_SECONDS = 0.1  # of the provider, where many call at once
CALLS = 10_000  # for the memory
WARM_CALLS = 2_000  # before them
AIM_CALL_MS = 2.0
AIM_FIRST_BYTE_MS = 2.0
AIM_AT_ONCE_MS = 2.0
AIM_MEMORY_MB = 2.0
SECONDS = 60.0  # for anything to start or to be answered

_ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"bench","choices":[{"index"'
    b':0,"message":{"role":"assistant","content":"%b"},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":30,"completion_tokens":200,"total_tokens":230}}' % (b"word " * 200)
)
_CHUNK = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench",'
    b'"choices":[{"index":0,"delta":{"content":"word "},"logprobs":null,"finish_reason":null}]}\n\n'
)
_LAST = _CHUNK.replace(b'"finish_reason":null', b'"finish_reason":"stop"') + b"data: [DONE]\n\n"
_CHUNKS = 50
_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_ANSWER),
    _ANSWER,
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


class Marks(Struct, frozen=True):
    """What an answer is known by: until when it is measured, and where it ends."""

    first: bytes
    end: bytes


WHOLE = Marks(b'"total_tokens":230}}', b'"total_tokens":230}}')
STREAM = Marks(b"data: ", b"\r\n0\r\n\r\n")


def main() -> int:
    """Print four lines. Always 0: it only measures."""
    with ExitStack() as stack:
        directory = stack.enter_context(short_directory())
        theirs, ours = free_port(), str(directory / SOCKET)
        stack.enter_context(_process(theirs, _serve_provider, theirs))
        gateway = stack.enter_context(_process(ours, _serve_gateway, theirs, directory))
        _tell_added("gateway-call", _request("bench"), WHOLE, ours, theirs, aim=AIM_CALL_MS)
        stream = _request("bench", stream=True)
        _tell_added("gateway-first-byte", stream, STREAM, ours, theirs, aim=AIM_FIRST_BYTE_MS)
        _tell_at_once(ours, theirs)
        _tell_memory(ours, gateway)
    return 0


def _tell_added(
    name: str, request: bytes, marks: Marks, ours: str, theirs: int, *, aim: float
) -> None:
    with Caller(ours) as mine, Caller(theirs) as other:
        for caller in (mine, other):
            caller.call(request, marks)
        pairs = [(mine.call(request, marks), other.call(request, marks)) for _ in range(ROUNDS)]
    added = statistics.median((through - direct) * 1e3 for through, direct in pairs)
    through, direct = (statistics.median(each) * 1e3 for each in zip(*pairs, strict=True))
    _tell(name, added, aim, f"ms added: {through:.2f} ms against {direct:.2f} directly")


def _tell_at_once(ours: str, theirs: int) -> None:
    pairs = [(_at_once(ours), _at_once(theirs)) for _ in range(AT_ONCE_ROUNDS)]
    through, direct = (statistics.median(each) * 1e3 for each in zip(*pairs, strict=True))
    added = statistics.median((mine - other) * 1e3 / AT_ONCE for mine, other in pairs)
    note = f"ms added by each of {AT_ONCE} at once: {through:.0f} ms against {direct:.0f} directly"
    _tell("gateway-at-once", added, AIM_AT_ONCE_MS, note)


def _at_once(where: str | int) -> float:
    """Return the seconds until all of many calls are answered, each on a connection of its own."""
    request = _request("thinking")
    with ExitStack() as stack:
        callers = [stack.enter_context(Caller(where)) for _ in range(AT_ONCE)]
        began = time.perf_counter()
        for caller in callers:
            caller.send(request)
        return max(caller.wait(WHOLE.end) for caller in callers) - began


def _tell_memory(ours: str, gateway: int) -> None:
    process, sizes = psutil.Process(gateway), list[float]()
    for count in (WARM_CALLS, CALLS):
        with Caller(ours) as caller:
            for _ in range(count // 2):
                caller.call(_request("bench"), WHOLE)
                caller.call(_request("bench", stream=True), STREAM)
        sizes.append(process.memory_info().rss / 2**20)
    before, after = sizes
    note = f"MiB more after {CALLS} more calls: {before:.1f} to {after:.1f}"
    _tell("gateway-memory", after - before, AIM_MEMORY_MB, note)


def _tell(name: str, value: float, aim: float, note: str) -> None:
    verdict = "ok" if value <= aim else "short"
    print(f"{name} {max(0.0, value):.2f} {aim:g} {verdict}  # {note}", flush=True)


class Caller:
    """One connection that is kept open, to a socket's path or a port."""

    def __init__(self, where: str | int) -> None:
        self._came = b""
        path = isinstance(where, str)
        self._socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._socket.settimeout(SECONDS)
        try:
            self._socket.connect(where if path else ("127.0.0.1", where))
        except OSError:
            self._socket.close()
            raise
        if not path:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, request: bytes, marks: Marks) -> float:
        """Send a request; returns the seconds until the first mark, and reads to the last."""
        began = time.perf_counter()
        self.send(request)
        took = self.wait(marks.first) - began
        self.wait(marks.end)
        self._came = b""
        return took

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._socket.sendall(request)

    def wait(self, mark: bytes) -> float:
        """Return when a mark was there. Answers must be good ones."""
        while mark not in self._came:
            data = self._socket.recv(1 << 16)
            assert data, self._came
            self._came += data
        now = time.perf_counter()
        assert self._came.startswith(b"HTTP/1.1 200"), self._came
        return now


def _request(model: str, *, stream: bool = False) -> bytes:
    text = "a question of a usual length, as people and programs ask of models " * 8
    options = ',"stream":true' if stream else ""
    body = f'{{"model":"{model}","messages":[{{"role":"user","content":"{text}"}}]{options}}}'
    return (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer platform-managed\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()


@contextmanager
def _process(where: str | int, target: Callable[..., None], *arguments: object) -> Generator[int]:
    """Run a server in a process of its own; yields its id once it takes connections."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                with Caller(where):
                    break
            except OSError:
                if time.monotonic() > deadline or not process.is_alive():
                    raise
                time.sleep(0.02)
        assert process.pid is not None
        yield process.pid
    finally:
        process.terminate()
        process.join(10)


class Forgetful(Book):
    """A journal that keeps nothing, as one does that is stored elsewhere."""

    def add(self, entries: Sequence[RunEntry]) -> None:
        assert entries


def _serve_gateway(port: int, directory: Path) -> None:
    uvloop.run(_serve_gateway_for_ever(port, directory))


async def _serve_gateway_for_ever(port: int, directory: Path) -> None:
    provider = ModelProvider(
        vendor="openai",
        models=["bench", "thinking"],
        endpoint=f"http://127.0.0.1:{port}/v1",
        credential=STORED,
    )
    async with (
        open_session(directory, {"bench": provider}, Forgetful()) as session,
        Gateway().open(session, directory),
    ):
        await asyncio.Event().wait()


def _serve_provider(port: int) -> None:
    uvloop.run(_serve_provider_for_ever(port))


async def _serve_provider_for_ever(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port)
    await server.serve_forever()


class Provider(asyncio.Protocol):
    """Answers requests one after the other, and costs next to nothing."""

    def __init__(self) -> None:
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, end, body = self._came.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]):
            return
        self._came = b""
        if b'"stream":true' in body:
            self._transport.write(_STREAM_HEAD + _chunked(_CHUNK))
            rest = b"".join((*[_chunked(_CHUNK)] * _CHUNKS, _chunked(_LAST), b"0\r\n\r\n"))
            asyncio.get_running_loop().call_soon(self._transport.write, rest)
        elif b'"model":"thinking"' in body:
            asyncio.get_running_loop().call_later(THINKING_SECONDS, self._transport.write, _WHOLE)
        else:
            self._transport.write(_WHOLE)


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
