"""The plain way to stream: `python -m bench.plain_sse PORT REDIS-URL`, one XREAD per subscriber.

Nothing else: no keys, no history from SQL, no framework. `GET /<stream>` follows a Redis stream.
"""

import asyncio
import sys
from typing import Any

import uvicorn
from redis import asyncio as aioredis

BLOCK_MILLISECONDS = 5000
MOST_SUBSCRIBERS = 2000
HEADERS = [(b"content-type", b"text/event-stream")]


# Any: ASGI's own types are dictionaries of whatever there is, and redis-py leaves replies open.
class Plain:
    """The ASGI application."""

    def __init__(self, url: str) -> None:
        options: Any = {"protocol": 2, "max_connections": MOST_SUBSCRIBERS}
        client: Any = aioredis.Redis  # its own types leave half of it open
        self._client = client.from_url(url, **options)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Follow one stream, until the client has gone."""
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        stream = scope["path"].removeprefix("/")
        following = asyncio.create_task(self._follow(stream, send))
        while (await receive())["type"] != "http.disconnect":
            pass
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    async def _follow(self, stream: str, send: Any) -> None:
        after = b"0"
        while True:
            reply = await self._client.xread({stream: after}, block=BLOCK_MILLISECONDS)
            for _, entries in reply:
                for id_, fields in entries:
                    frame = b"id: %s\nevent: message\ndata: %s\n\n" % (fields[b"v"], fields[b"d"])
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
                    after = id_


def serve() -> None:
    """Serve until a signal."""
    port, url = sys.argv[1:]
    uvicorn.run(
        Plain(url),
        port=int(port),
        http="httptools",
        loop="uvloop",
        lifespan="off",
        access_log=False,
        log_level="critical",
        timeout_graceful_shutdown=0,
    )


if __name__ == "__main__":
    serve()
