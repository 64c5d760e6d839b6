"""One connection of an agent: HTTP/1.1 by uvicorn's parser, held to what an agent may do to us.

uvicorn trusts its clients with more than we may: heads and trailers without end, requests sent
before the last was answered, bodies that nobody wants, answers that nobody reads.
"""

import asyncio
import logging
from typing import Literal, Protocol, cast

import msgspec
import structlog
from litestar.types import HTTPReceiveMessage, HTTPScope, Message
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from domain.errors import ArgosyError, Malformed
from workers.gateway.allowances import Bytes, GatewayLimits
from workers.gateway.exchange import MAX_BODY_BYTES, AgentGone, BodyTooLarge, Exchange
from workers.gateway.refusals import GatewayBroke, refuse

# What uvicorn logs is what agents make it log. Our own log says what is wrong with us.
_SILENT = logging.getLogger("argosy.gateway.silent")
_SILENT.setLevel(logging.CRITICAL + 1)

HEADER_BYTES = 64  # what a header counts beside its text, so that many empty ones count

log = structlog.stdlib.get_logger(__name__)

type Phase = Literal["idle", "head", "body", "done"]
"""What of a request came last: nothing yet, something of it, its head, all of it."""


class HeadTooLarge(ArgosyError):
    """More of a request than its limit is no body. Send fewer headers, and no trailers."""

    type = "head-too-large"
    status = 431
    title = "The head is too large"


class TooSlow(ArgosyError):
    """The request did not come whole in time. Send it again."""

    type = "too-slow"
    status = 408
    title = "The request was too slow"


class Server(Protocol):
    """What a connection needs of the sandbox's server."""

    limits: GatewayLimits
    state: ServerState
    bytes: Bytes

    async def admit(self) -> None:
        """Return when a call may be made."""
        ...

    async def answer(self, exchange: Exchange) -> None:
        """Answer a call. Raises ArgosyError."""
        ...

    def lost(self) -> None:
        """A connection is over."""
        ...


class Call:
    """The body of one request: how much came, how much of it we hold, and why we want no more."""

    def __init__(self) -> None:
        self.came = 0
        self.held = 0
        self.refusal: ArgosyError | None = None


class Connection(HttpToolsProtocol):
    """See the module. One request at a time."""

    def __init__(self, config: Config, server: Server) -> None:
        super().__init__(config, server.state, {})
        self.app = self._answer
        self.logger = _SILENT
        self.access_log = False
        self._server = server
        self._limits = server.limits
        self._phase: Phase = "idle"
        self._head_bytes = 0
        self._unused_bytes = 0  # since something of a request was complete
        self._call = Call()
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: ArgosyError = Malformed("This is not an HTTP request.")

    # -- the transport's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn's own
        super().connection_made(transport)
        self._arm(self._limits.idle_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)
        self._server.lost()

    def data_received(self, data: bytes) -> None:
        self._unused_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unused_bytes > self._limits.head_bytes:
            self._end(self._too_large())
        elif self._timer is None:
            self._arm_for_phase()

    def send_400_response(self, msg: str) -> None:
        """Called for what the parser cannot read, and for what its callbacks below refused."""
        del msg
        self._end(self._refusal)

    def _end(self, refusal: ArgosyError) -> None:
        """End the connection, with an answer unless one is under way."""
        if not self._is_answering:
            body = msgspec.json.encode({"error": refusal.detail, "code": refusal.type})
            head = (
                b"content-type: application/json\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n" % len(body)
            )
            self.transport.write(STATUS_LINE[refusal.status] + head + body)
        self.transport.close()

    @property
    def _is_answering(self) -> bool:
        # uvicorn declares what it sets only later
        return self.cycle is not None and not self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

    # -- the parser's side: what is raised ends the connection

    def on_message_begin(self) -> None:
        if self._is_answering:
            raise self._because(Malformed("A request is sent when the last one was answered."))
        super().on_message_begin()
        self._phase, self._head_bytes = "head", 0
        self._disarm()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + HEADER_BYTES)
        if self._phase == "head":  # trailers are left out
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():  # pyright: ignore[reportOptionalMemberAccess] - set until the connection is lost
            raise self._because(Malformed("Nothing is upgraded here; this is HTTP/1.1."))
        self._call = Call()
        self._reach("body")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unused_bytes = 0
        call = self._call
        call.came += len(body)
        if call.came > 2 * MAX_BODY_BYTES:
            raise self._because(BodyTooLarge("The body goes on although it was refused."))
        if call.refusal is not None or not self._is_answering:
            return
        try:
            if call.came > MAX_BODY_BYTES:
                raise _body_too_large()
            self._server.bytes.take(len(body))
        except ArgosyError as refusal:
            call.refusal = refusal
            self.cycle.message_event.set()
        else:
            call.held += len(body)
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._reach("done")
        super().on_message_complete()

    def _reach(self, phase: Phase) -> None:
        self._phase, self._unused_bytes = phase, 0
        self._disarm()

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > self._limits.head_bytes:
            raise self._because(self._too_large())

    def _too_large(self) -> HeadTooLarge:
        return HeadTooLarge(f"A head has at most {self._limits.head_bytes} bytes.")

    def _because(self, refusal: ArgosyError) -> ArgosyError:
        self._refusal = refusal
        return refusal

    # -- time

    def _arm_for_phase(self) -> None:
        if self._phase == "body":
            self._arm(self._limits.body_seconds)
        elif self._phase == "head" or not self._is_answering:  # or bytes that begin no request
            self._arm(self._limits.head_seconds)

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, self._out_of_time)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _out_of_time(self) -> None:
        self._timer = None
        if self._phase == "head":
            self._end(TooSlow(f"A head may take {self._limits.head_seconds} s."))
        else:
            self.transport.close()

    # -- the call's side

    async def _answer(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer one request; the ASGI application of this connection. Never raises."""
        call, cycle = self._call, self.cycle

        async def take() -> HTTPReceiveMessage:
            message = await receive()
            if call.refusal is not None:
                raise call.refusal
            return cast("HTTPReceiveMessage", message)

        async def give(message: Message) -> None:
            if self.transport.is_closing():
                raise AgentGone
            await self._send(send, cast("ASGISendEvent", message))

        # uvicorn and Litestar name the same ASGI messages each in its own way
        exchange = Exchange(cast("HTTPScope", scope), take, give)
        try:
            await self._answer_or_refuse(exchange)
        except (AgentGone, asyncio.CancelledError):
            pass
        finally:
            self._server.bytes.give_back(call.held)
            if not exchange.ended:  # so that half an answer is not taken for all of it
                cycle.disconnected = True
                self.transport.close()

    async def _answer_or_refuse(self, exchange: Exchange) -> None:
        try:
            _check_length(exchange)
            await self._server.admit()
            await self._server.answer(exchange)
            assert exchange.started, "the handler answered nothing"
        except ArgosyError as refusal:
            if not exchange.started:
                await refuse(exchange, refusal)
        except (AgentGone, asyncio.CancelledError):
            raise
        except Exception:  # the boundary of an agent's call: a bug ends the call, not the host
            log.exception("gateway.broke", method=exchange.method, path=exchange.path)
            if not exchange.started:
                await refuse(exchange, GatewayBroke("Argosy has a bug here; its log says more."))

    async def _send(self, send: ASGISendCallable, message: ASGISendEvent) -> None:
        if not self.flow.write_paused:
            await send(message)
            return
        try:
            async with asyncio.timeout(self._limits.stall_seconds):
                await send(message)
        except TimeoutError:
            self.transport.abort()
            raise AgentGone from None


def _check_length(exchange: Exchange) -> None:
    """Refuse a body by what its head says."""
    if int(exchange.headers.get("content-length") or 0) > MAX_BODY_BYTES:
        raise _body_too_large()


def _body_too_large() -> BodyTooLarge:
    return BodyTooLarge(f"A body has at most {MAX_BODY_BYTES} bytes.")
