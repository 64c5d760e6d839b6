"""`Outbound` over aiohttp: one pool of connections, and the guard at the opening of every socket.

The guard is asked for each address just before it is connected to, so that no answer of a name
server can come between. Nothing is read from proxies' variables (`HTTPS_PROXY`): a proxy resolves
names itself, where no guard could see the address.
"""

import io
import os
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from adapters.settings import Settings
from domain.errors import ArgosyError
from workers.gateway.exchange import HOP_BY_HOP
from workers.gateway.guards import SETTING, Guard, read_allowances
from workers.gateway.outbound import Answer, OutboundFailed, OutboundRefused

# To get a connection: a place in the pool and all of the handshakes; and each socket's own.
CONNECT_SECONDS = 30.0
SOCKET_SECONDS = 10.0
# How long a peer may leave sent bytes unread; the kernel then ends what we have long closed too.
UNREAD_SECONDS = 120
MAX_CONNECTIONS = 1000
MAX_LINE_BYTES = 8190  # of the status line, and of each header
MAX_HEADERS = 128
SWITCHING = 101

# Ours to say, as they are about the connection.
_LEFT_OUT = HOP_BY_HOP | {"expect"}
_DEFAULT_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "argosy"}
_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUES = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_IN_URLS = re.compile(r"[\x21-\x7e]+")
# TimeoutError is an OSError; uvloop has RuntimeErrors where asyncio has those.
_FAILURES = (aiohttp.ClientError, OSError, RuntimeError, ValueError)


class Call:
    """One request: whom it asks, for how long, and what became of its connections."""

    def __init__(self, target: URL, seconds: float, idle_seconds: float) -> None:
        self.target = target
        self.seconds = seconds
        self.idle_seconds = idle_seconds
        self.refused = False
        self.tried = False
        self._where = target.host_port_subcomponent

    def failure(self, error: Exception, *, begun: bool = False) -> ArgosyError:
        """Return what to raise for what aiohttp raised, whose own words may repeat anything."""
        if (self.refused and not self.tried) or isinstance(error, aiohttp.InvalidURL):
            return OutboundRefused(
                f"{self._where} is not on the public internet. An operator can allow it: {SETTING}."
            )
        return OutboundFailed(f"{self._where} {self._how(error, begun=begun)}.")

    def too_much(self, limit: int) -> OutboundFailed:
        """Return what to raise for a body that is too large."""
        return OutboundFailed(f"{self._where} answered more than {limit} bytes.")

    def _how(self, error: Exception, *, begun: bool) -> str:
        match error:
            case aiohttp.ConnectionTimeoutError():
                return "could not be connected to in time"
            case aiohttp.SocketTimeoutError():
                return f"sent nothing for {self.idle_seconds:g} s"
            case TimeoutError():
                return f"took more than {self.seconds:g} s"
            case aiohttp.ClientConnectorCertificateError():
                return f"has a certificate that is not trusted{_why(error.certificate_error)}"
            case aiohttp.ClientConnectorSSLError():
                return "does not speak TLS as it should"
            case aiohttp.ClientConnectorDNSError():
                return "is no host that can be found"
            case aiohttp.ClientConnectorError(errno=int(number)) if number > 0:
                return f"cannot be connected to: {os.strerror(number).lower()}"
            case aiohttp.ClientConnectorError():
                return "cannot be connected to"
            case aiohttp.ClientResponseError():
                return "answered with broken HTTP, or a head that is too large"
            case ValueError():
                return "was not asked: HTTP allows no such method or header"
            case _ if begun:
                return "broke its answer off"
            case _:
                return "closed the connection without an answer"


_call: ContextVar[Call] = ContextVar("call")


class HttpOutbound:
    """`Outbound`; made by `open_outbound`, in `outbound.py`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        seconds: float = 120.0,
        idle_seconds: float = 60.0,
    ) -> AsyncGenerator[Answer]:
        """Call a URL; see `Outbound`."""
        call = Call(_target(url), seconds, idle_seconds)
        try:
            response = await self._begin(call, method, headers, body)
        except _FAILURES as error:
            raise call.failure(error) from None
        try:
            if response.status == SWITCHING:
                raise OutboundFailed("The service answered in another protocol.")
            yield HttpAnswer(response, call)
        finally:
            _let_go(response)

    async def _begin(
        self, call: Call, method: str, headers: Mapping[str, str], body: bytes
    ) -> aiohttp.ClientResponse:
        token = _call.set(call)
        try:
            return await self._session.request(
                method,
                call.target,
                headers=_headers(headers),
                data=io.BytesIO(body) if body else None,  # which is sent in parts
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=call.seconds,
                    connect=CONNECT_SECONDS,
                    sock_connect=SOCKET_SECONDS,
                    sock_read=call.idle_seconds,
                ),
            )
        finally:
            _call.reset(token)


class HttpAnswer:
    """`Answer`."""

    def __init__(self, response: aiohttp.ClientResponse, call: Call) -> None:
        self._response = response
        self._call = call
        self.status = response.status
        headers: dict[str, str] = {}
        for raw, text in response.headers.items():
            name, value = raw.lower(), _as_ours(text)
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self.headers: Mapping[str, str] = headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes; see `Answer`."""
        content = self._response.content
        while True:
            try:
                chunk = await content.readany()
            except _FAILURES as error:
                raise self._call.failure(error, begun=True) from None
            if not chunk:
                return
            yield chunk

    async def body(self, limit: int) -> bytes:
        """Return the whole body; see `Answer`."""
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise self._call.too_much(limit)
            parts.append(chunk)
        return b"".join(parts)


@asynccontextmanager
async def open_http_outbound(
    settings: Settings, *, resolver: AbstractResolver | None = None
) -> AsyncGenerator[HttpOutbound]:
    """Open the pool. Raises Invalid for ARGOSY_OUTBOUND_ALLOW.

    TLS trusts what the machine trusts, or SSL_CERT_FILE and SSL_CERT_DIR where they are set.
    """
    guard = Guard(read_allowances(settings.outbound_allow))
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])

    connector = aiohttp.TCPConnector(
        ssl=context,
        limit=MAX_CONNECTIONS,
        resolver=resolver,
        socket_factory=partial(_open_socket, guard),
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=["Accept", "Accept-Encoding", "Content-Type", "User-Agent"],
        auto_decompress=False,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_LINE_BYTES,
        max_headers=MAX_HEADERS,
    ) as session:
        yield HttpOutbound(session)


# Any: what an address consists of differs by family.
def _open_socket(guard: Guard, info: tuple[int, int, int, str, Any]) -> socket.socket:
    """Open a socket for an address. Raises OSError where the guard forbids it."""
    family, kind, protocol, _, place = info
    call = _call.get()
    assert call.target.raw_host is not None
    assert call.target.port is not None
    if not guard.admits(call.target.raw_host, call.target.port, place[0]):
        call.refused = True
        raise PermissionError
    call.tried = True
    opened = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
    return opened


def _target(url: str) -> URL:
    try:
        target = URL(url if _IN_URLS.fullmatch(url) else "", encoded=True)
        readable = target.scheme in ("http", "https") and target.raw_host and target.port
    except ValueError:
        target, readable = URL(), False
    if not readable:
        raise OutboundRefused("Only http:// and https:// URLs are called.")
    if target.raw_user is not None or target.raw_password is not None:
        raise OutboundRefused("A URL with a user or password is not called.")
    return target


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    """Return what is sent. Raises ValueError for what would not be one header."""
    if not all(_NAMES.fullmatch(name) and _VALUES.fullmatch(given[name]) for name in given):
        raise ValueError
    headers = {
        name: _as_theirs(value) for name, value in given.items() if name.lower() not in _LEFT_OUT
    }
    missing = _DEFAULT_HEADERS.keys() - {name.lower() for name in headers}
    return headers | {name: _DEFAULT_HEADERS[name] for name in sorted(missing)}


def _as_ours(value: str) -> str:
    """Return a header's value with a character for each of its bytes; aiohttp reads UTF-8."""
    return value.encode("utf-8", "surrogateescape").decode("latin-1")


def _as_theirs(value: str) -> str:
    """Return a value as aiohttp writes the same bytes. Raises ValueError where it cannot."""
    return value if value.isascii() else value.encode("latin-1").decode("utf-8")


def _why(cause: Exception) -> str:
    """Return what OpenSSL says of a certificate."""
    why = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else ""
    return f": {why.rstrip('.').lower()}" if why else ""


def _let_go(response: aiohttp.ClientResponse) -> None:
    """Give the connection back; end it if there is more in it that nobody reads."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()
