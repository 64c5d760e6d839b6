"""Listening: uvicorn as this process wants it, and how it stops."""

import asyncio
import gc
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

GRACE_SECONDS = 5  # for requests under way when the process is told to stop
KEEP_ALIVE_SECONDS = 75
BACKLOG = 2048
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# The loop and the thread that writes the log take turns. Every statement lets go of Python's
# lock and then waits this long for it at worst, with every command of the batch behind it.
SWITCH_SECONDS = 0.0005
COLLECT_AFTER = 20_000  # new objects; a request makes some hundreds, nearly none of them in cycles

log = structlog.stdlib.get_logger(__name__)


async def listen(app: Litestar, settings: Settings) -> None:
    """Serve an application until SIGINT or SIGTERM."""
    config = server_config(app, host=settings.host, port=settings.port)
    _settle()
    log.info("api.serving", url=settings.url)
    await Server(config, app.state.shared).serve()


def server_config(
    app: Litestar, *, host: str, port: int, connection: type[Connection] = Connection
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
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


class Server(uvicorn.Server):
    """Ends the streams first when it is told to stop; they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, shared: Shared) -> None:
        super().__init__(config)
        self._shared = shared

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take SIGINT or SIGTERM."""
        self._shared.hub.close()
        super().handle_exit(sig, frame)

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
