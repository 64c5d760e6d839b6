"""One client's connection: how large the head of a request may be, and how long anything may take.

uvicorn bounds none of that. What cannot be asked of the application any more is refused here, with
the same problems that it would answer. A response may take as long as it likes while the client
takes it: streams have heartbeats.
Not protected against: very many connections, each within its times.
"""

import asyncio
import socket
from http import HTTPStatus
from typing import Any, Literal

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.problems import PROBLEM_TYPE, Problem, problem_body
from domain.errors import ArgosyError, Malformed
from domain.ids import new_id

MAX_HEAD_BYTES = 32_768  # request line and headers
MAX_HEADERS = 100
LINGER_SECONDS = 1.0  # what a refused client still sends is thrown away, so that it can read why

type Phase = Literal["idle", "head", "body"]

log = structlog.stdlib.get_logger(__name__)


class HeadersTooLarge(ArgosyError):
    """The request line and headers are larger than allowed. Send fewer or shorter ones."""

    type = "head-too-large"
    status = 431
    title = "The headers are too large"


class RequestTooSlow(ArgosyError):
    """The request did not arrive in time. Send it again, on a connection that carries it."""

    type = "too-slow"
    status = 408
    title = "The request took too long to arrive"


# Any: what uvicorn gives a protocol is between it and its base class.
class Connection(HttpToolsProtocol):
    """uvicorn's, with bounds. Times are in seconds.

    head_seconds: from a request's first byte to the end of its headers; also for a new connection.
    piece_seconds, body_seconds: between two pieces of a body, and for all of it.
    write_seconds: for a client that takes nothing of a response that is being sent.
    gone_seconds: for one whose machine acknowledges nothing of it, such as a stream's heartbeat.
    """

    head_seconds = 20.0
    piece_seconds = 30.0
    body_seconds = 600.0
    write_seconds = 60.0
    gone_seconds = 30.0

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._phase: Phase = "head"
        self._head_bytes = 0  # of the head so far, without the piece that is being read
        self._piece_bytes = 0
        self._deadline = 0.0
        self._body_deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._wrong: ArgosyError | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # as uvicorn does
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._expect(self.head_seconds)
        self._expect_acknowledgements(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._phase = "idle"
        for timer in (self._timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a piece of a request."""
        if self._refused:
            return
        if self._phase == "idle":  # also for what is no request yet, such as empty lines
            self._begin_head()
        before, self._piece_bytes = self._phase, len(data)
        super().data_received(data)
        if self._phase == "head" and before == "head":
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(_head_too_large())
        elif self._phase == "body":
            self._deadline = min(self.loop.time() + self.piece_seconds, self._body_deadline)

    def on_message_begin(self) -> None:
        """Take note that a head begins."""
        if self._phase != "head":
            self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Take note that a body begins; it may be empty."""
        # A head that came whole in a small piece needs no adding up.
        if self._head_bytes + self._piece_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
                self._wrong = _head_too_large()
                raise self._wrong  # the parser stops, and makes a 400 of it
        self._phase = "body"
        self._body_deadline = self.loop.time() + self.body_seconds
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take note that a request is whole."""
        self._phase = "idle"
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser could not read, or what was raised within it."""
        self._refuse(self._wrong or Malformed(msg))

    def pause_writing(self) -> None:
        """Begin to wait for the client to take what was sent."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.write_seconds, self._give_up)

    def resume_writing(self) -> None:
        """Go on sending."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _expect_acknowledgements(self, transport: asyncio.Transport) -> None:
        """Let the kernel end what it would else keep for a quarter of an hour."""
        found: Any = transport.get_extra_info("socket")  # Any: uvloop's is none of Python's
        if found is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = round(self.gone_seconds * 1000)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    def _begin_head(self) -> None:
        self._phase = "head"
        self._head_bytes = 0
        self._expect(self.head_seconds)

    def _expect(self, seconds: float) -> None:
        """Give the client so long; one timer serves many requests, as most end before it."""
        self._deadline = self.loop.time() + seconds
        if self._timer is None:
            self._timer = self.loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        """Refuse a client that is late, or look again when it would be."""
        self._timer = None
        if self._phase == "idle" or self._refused or self.transport.is_closing():
            return
        if self._waits_for_us():
            self._expect(self.piece_seconds)
        elif self._deadline > self.loop.time():
            self._timer = self.loop.call_at(self._deadline, self._look)
        elif self._phase == "head" and not self._head_bytes:
            self.transport.close()  # it never asked for anything
        else:
            detail = f"The {self._phase} of the request did not arrive in time."
            self._refuse(RequestTooSlow(detail))

    def _waits_for_us(self) -> bool:
        """Whether nothing is read just now, or an earlier request is still being answered."""
        if self._phase == "body":
            return self.flow.read_paused
        return self._answering()

    def _answering(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete  # there is none at first

    def _refuse(self, refusal: ArgosyError) -> None:
        """Answer, unless something else is being answered, and close."""
        self._refused = True
        request_id = new_id()
        log.info("connection.refused", status=refusal.status, request_id=request_id)
        answering = self._answering()
        if not (answering and self.cycle.response_started):
            self.transport.write(_answer(refusal, request_id))
        if answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _give_up(self) -> None:
        log.info("connection.stalled", seconds=self.write_seconds)
        self.transport.abort()


def _head_too_large() -> HeadersTooLarge:
    return HeadersTooLarge(
        f"Request line and headers have at most {MAX_HEAD_BYTES} bytes, and {MAX_HEADERS} headers.",
        limit=MAX_HEAD_BYTES,
    )


def _answer(refusal: ArgosyError, request_id: str) -> bytes:
    problem = Problem(
        type=refusal.type,
        title=refusal.title,
        status=refusal.status,
        detail=refusal.detail,
        request_id=request_id,
        members=refusal.members,
    )
    body = problem_body(problem)
    head = (
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n"
        f"Content-Type: {PROBLEM_TYPE}\r\nContent-Length: {len(body)}\r\n"
        f"X-Request-Id: {request_id}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
