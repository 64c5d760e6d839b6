"""Listening: uvicorn as this process wants it, and how it stops.

Told to stop, it goes on serving for `settings.unready_seconds` while `/readyz` sends load balancers
elsewhere. Then it listens no more, streams end, and requests under way have
`settings.drain_seconds`. A second signal skips the first part, a third cuts off what is left.
"""

import asyncio
import gc
import math
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import structlog
import uvicorn
from litestar import Litestar

from adapters.settings import Settings
from api.calls import Shared
from api.connections import Connection

KEEP_ALIVE_SECONDS = 75
BACKLOG = 2048
HANG_UP = (b"connection", b"close")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# The loop and the thread that writes the log take turns. Every statement lets go of Python's
# lock and then waits this long for it at worst, with every command of the batch behind it.
SWITCH_SECONDS = 0.0005
COLLECT_AFTER = 20_000  # new objects; a request makes some hundreds, nearly none of them in cycles

log = structlog.stdlib.get_logger(__name__)


async def listen(app: Litestar, settings: Settings) -> None:
    """Serve an application until SIGINT or SIGTERM."""
    config = server_config(
        app, host=settings.host, port=settings.port, drain_seconds=settings.drain_seconds
    )
    _settle()
    log.info("api.serving", url=settings.url)
    await Server(config, app.state.shared, settings.unready_seconds).serve()


def server_config(
    app: Litestar,
    *,
    host: str,
    port: int,
    connection: type[Connection] = Connection,
    drain_seconds: float = 5.0,
) -> uvicorn.Config:
    """Return how the application is served. `connection`: with the bounds of each."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="none",
        http=connection,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(drain_seconds),
    )


class Server(uvicorn.Server):
    """Stops in steps. Streams are ended for it; they would never end by themselves.

    unready_seconds: between the first signal and the end of listening.
    """

    def __init__(
        self, config: uvicorn.Config, shared: Shared, unready_seconds: float = 0.0
    ) -> None:
        super().__init__(config)
        self._shared = shared
        self._unready_seconds = unready_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take SIGINT or SIGTERM."""
        del sig, frame
        if self.should_exit:
            self.force_exit = True
        elif self._shared.draining or not self.started:
            self._leave()
        else:
            self._shared.draining = True
            # Clients that keep their connection open come back by another. The second list lasts.
            self.server_state.default_headers = [*self.server_state.default_headers, HANG_UP]
            self.config.encoded_headers.append(HANG_UP)
            log.info("api.draining", unready_seconds=self._unready_seconds)
            asyncio.get_running_loop().call_later(self._unready_seconds, self._leave)

    def _leave(self) -> None:
        self._shared.draining = True
        self._shared.hub.close()
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Stop at a signal, and exit with 0: uvicorn would raise it again before we have closed."""
        loop = asyncio.get_running_loop()
        for each in SIGNALS:
            loop.add_signal_handler(each, self.handle_exit, each, None)
        try:
            yield
        finally:
            for each in SIGNALS:
                loop.remove_signal_handler(each)


def _settle() -> None:
    """Leave what stays for ever out of every garbage collection, collect less, switch sooner."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    sys.setswitchinterval(SWITCH_SECONDS)
