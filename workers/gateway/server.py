"""The gateway's sockets: one for each sandbox, so that the socket itself says who calls.

What it does not protect against: an agent that makes all the calls it may costs the run host's
loop up to `calls_per_second` of them, whatever they are answered.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import structlog
from uvicorn.config import Config
from uvicorn.server import ServerState

from workers.gateway.allowances import Bytes, GatewayLimits, Pace, Pool
from workers.gateway.connections import Connection
from workers.gateway.exchange import Exchange
from workers.gateway.reports import Reports
from workers.gateway.routes import FindHandler, find_handler
from workers.gateway.session import Session

SOCKET = "gateway.sock"
BACKLOG = 128
NO_FILES_SECONDS = 0.1  # until it is tried again to accept when the process has no files left

log = structlog.stdlib.get_logger(__name__)


async def at_once() -> None:
    """Wait for nothing."""


class Gateway:
    """Serves the sandboxes of one run host. `find`: who answers a call."""

    def __init__(
        self, limits: GatewayLimits | None = None, *, find: FindHandler = find_handler
    ) -> None:
        self._limits = limits or GatewayLimits()
        self._find = find
        self.pool = Pool(self._limits.pool_bytes)
        self._config = Config(
            _unused,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(self._limits.idle_seconds),
        )
        self._config.load()

    @asynccontextmanager
    async def open(
        self,
        session: Session,
        directory: Path,
        *,
        room: Callable[[], Awaitable[None]] = at_once,
    ) -> AsyncGenerator[None]:
        """Serve one sandbox at `directory`/gateway.sock; on leaving, its calls are cancelled.

        room: awaited before each call is answered, so that records are not made faster than they
            can be stored; what it raises ends the call.
        """
        with listen_in(directory) as listener:
            served = _Served(session, self._limits, self.pool, self._find, room)
            accepting = asyncio.create_task(served.accept(listener, self._config))
            try:
                yield
            finally:
                accepting.cancel()
                await asyncio.gather(accepting, return_exceptions=True)
                await served.close()


class _Served:
    """One sandbox's server; see `connections.Server`."""

    def __init__(
        self,
        session: Session,
        limits: GatewayLimits,
        pool: Pool,
        find: FindHandler,
        room: Callable[[], Awaitable[None]],
    ) -> None:
        self.limits = limits
        self.state = ServerState()
        self.bytes = Bytes(limits, pool)
        self._session = session
        self._reports = Reports(session)
        self._find = find
        self._room = room
        self._pace = Pace(limits.calls_per_second, limits.burst)
        self._places = asyncio.Semaphore(limits.connections)

    async def accept(self, listener: socket.socket, config: Config) -> None:
        """Take connections for ever; those there is no place for wait in the kernel."""
        loop = asyncio.get_running_loop()
        while True:
            await self._places.acquire()
            await self._pace.turn()
            accepted = await self._next(listener)
            try:
                await loop.connect_accepted_socket(lambda: Connection(config, self), accepted)
            except OSError:  # it is gone already
                self.lost()

    async def _next(self, listener: socket.socket) -> socket.socket:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("gateway.cannot_accept", run=self._session.run_id, error=str(error))
                await asyncio.sleep(NO_FILES_SECONDS)
            else:
                return accepted

    async def admit(self) -> None:
        """See `connections.Server`."""
        await self._pace.turn()
        await self._room()

    async def answer(self, exchange: Exchange) -> None:
        """See `connections.Server`."""
        handler = self._find(exchange.method, exchange.path, self._reports)
        await handler(self._session, exchange)

    def lost(self) -> None:
        """See `connections.Server`."""
        self._places.release()

    async def close(self) -> None:
        """Cancel what is under way and break its connections; returns when it has ended."""
        for connection in list(self.state.connections):
            connection.transport.abort()
        calls = list(self.state.tasks)
        for call in calls:
            call.cancel()
        if not calls:
            return
        _, left = await asyncio.wait(calls, timeout=self.limits.close_seconds)
        if left:
            log.error("gateway.calls_left", run=self._session.run_id, calls=len(left))


@contextmanager
def listen_in(directory: Path) -> Generator[socket.socket]:
    """A sandbox's socket: every uid which can enter the directory may connect to it."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # A socket's name has at most 107 bytes, and a path may have more.
        listener.bind(f"/proc/self/fd/{folder}/{SOCKET}")
        (directory / SOCKET).chmod(0o666)
        listener.listen(BACKLOG)
        yield listener
    finally:
        listener.close()
        os.close(folder)
        with suppress(FileNotFoundError):
            (directory / SOCKET).unlink()


async def _unused(scope: object, receive: object, send: object) -> None:
    """Each connection has an application of its own, and uvicorn wants one for all."""
    del scope, receive, send
