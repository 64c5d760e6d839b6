"""What this process counts, and the page on which Prometheus reads it.

To count something is one line where it happens, and one at the head of that module that names it:

    TAKEN = Counter("argosy_pool_takes_total", "Sandboxes that runs took.", ["found"])
    …
    TAKEN.labels("warm").inc()

`Counter`, `Gauge` and `Histogram` are prometheus_client's. They register themselves, count for the
whole process, and may be used from any thread. So that pages stay small and tell nobody anything
about anybody:

* names begin with `argosy_` and end in the unit (`_seconds`), those of counters in `_total`;
* a label has a few values, all of them ours: never an id, a name that somebody chose, or a path;
* each has a row in docs/guides/operate.md. A test looks.

What happens in the log is counted where it is appended, in `facts.py`.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, REGISTRY, disable_created_metrics
from prometheus_client.exposition import generate_latest

from adapters.settings import Settings

# Seconds: from what a database can do at best to what a person gives up on.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

AGAIN_SECONDS = 5.0
REQUEST_SECONDS = 5.0
MOST_REQUEST_BYTES = 16_384
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

log = structlog.stdlib.get_logger(__name__)

disable_created_metrics()  # a second line for every counter, which nobody reads


def page() -> bytes:
    """Return what Prometheus reads: all that was counted, and the process's time and memory."""
    return generate_latest(REGISTRY)


@asynccontextmanager
async def metrics_served(settings: Settings) -> AsyncGenerator[None]:
    """Serve `/metrics` meanwhile, if the operator has set ARGOSY_METRICS_PORT.

    For processes without HTTP of their own. One path, without a key, on this machine's own address
    unless the operator names another. A port that is taken is tried again, for a process that is
    being replaced has it for some seconds more; work never waits for it. The library's own server
    would be a thread for every connection, for as long as its client likes.
    """
    if not settings.metrics_port:
        yield
        return
    serving = asyncio.create_task(_serve(settings), name="metrics")
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def _serve(settings: Settings) -> None:
    while True:
        try:
            server = await asyncio.start_server(
                _answer, settings.metrics_host, settings.metrics_port, limit=MOST_REQUEST_BYTES
            )
        except OSError as error:
            log.warning("metrics.not_served", port=settings.metrics_port, error=str(error))
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            async with server:
                await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            writer.write(_response(await reader.readuntil(b"\r\n\r\n")))
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        pass  # whoever asked has gone, or speaks something else
    finally:
        writer.close()


def _response(head: bytes) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    status, body = "404 Not Found", b"Only GET /metrics is served here.\n"
    if method == b"GET" and path == b"/metrics":
        status, body = "200 OK", page()
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body
