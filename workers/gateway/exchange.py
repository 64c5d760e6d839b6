"""One HTTP request of an agent, and the answer to it, over ASGI."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, cast

import msgspec
from litestar.types import HTTPScope, Receive, Send

from domain.errors import ArgosyError

MAX_BODY_BYTES = 20 * 1024 * 1024

# Of one connection, not of the message: they are never passed on (RFC 9110, 7.6.1).
HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class BodyTooLarge(ArgosyError):
    """A body of more than MAX_BODY_BYTES. Send less, or in parts."""

    type = "body-too-large"
    title = "The body is too large"
    status = 413


class AgentGone(Exception):
    """The agent closed its connection: nobody waits for the answer any more."""


class Exchange:
    """A request to be answered once: by `respond`, or by `start`, any number of `send`, `end`.

    `send` waits while the agent reads slower than it is written to.
    raw_path: as it was sent; `path` is percent-decoded.
    """

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.method = scope["method"]
        self.path = scope["path"]
        self.raw_path = scope["raw_path"].decode("latin-1")
        self.query = scope["query_string"].decode("latin-1")
        # Repeated headers are joined, as RFC 9110, 5.3 allows.
        self.headers: dict[str, str] = {}
        for raw, value in scope["headers"]:
            name = raw.decode("latin-1").lower()
            text = value.decode("latin-1")
            self.headers[name] = f"{self.headers[name]}, {text}" if name in self.headers else text
        self.started = False
        self.ended = False
        self.status = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises AgentGone."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise AgentGone
            more = message["more_body"]
            if message["body"]:
                yield message["body"]

    async def body(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """Return the whole body, at most `limit` bytes. Raises BodyTooLarge and AgentGone."""
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge(f"The body is larger than {limit} bytes.")
            parts.append(chunk)
        return b"".join(parts)

    async def gone(self) -> None:
        """Return when the agent has closed its connection; only once the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def attended[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` while the agent waits for it; only once the body was read.

        Cancels it and raises AgentGone when the agent hangs up.
        """
        tasks = (asyncio.create_task(work), asyncio.create_task(self.gone()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not tasks[0].done():
                raise AgentGone
            return tasks[0].result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of the answer, without what belongs to another connection."""
        self.started, self.status = True, status
        sent = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in headers.items()
            if name.lower() not in HOP_BY_HOP or name.lower() == "content-length"
        ]
        await self._say({"type": "http.response.start", "status": status, "headers": sent})

    async def send(self, data: bytes) -> None:
        """Send a part of the answer."""
        await self._say({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """End the answer. Leave it out to break the connection, so that half is not the whole."""
        self.ended = True
        await self._say({"type": "http.response.body", "body": b"", "more_body": False})

    async def respond(
        self, status: int, body: bytes, content_type: str = "application/json"
    ) -> None:
        """Send a whole answer."""
        length = str(len(body))
        await self.start(status, {"content-type": content_type, "content-length": length})
        if body:
            await self.send(body)
        await self.end()

    async def respond_json(self, status: int, content: object) -> None:
        """Send a whole answer, `content` as JSON."""
        await self.respond(status, msgspec.json.encode(content))

    async def _say(self, message: dict[str, Any]) -> None:
        await self._send(cast("Any", message))
