"""What a sandbox asks a build's door for: a tunnel to a host, or an http:// URL."""

import asyncio
import re

from msgspec import Struct

from domain.errors import Invalid
from domain.urls import DEFAULT_PORTS, split_authority
from workers.builder.indexes import Place

HEAD_BYTES = 32 << 10
HEAD_SECONDS = 15.0

_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.[01]\r\n")
# No line that others might read as two, or as part of the one before (RFC 9112, 2.2 and 5.2).
_HEADERS = re.compile(rb"(?:[!-9;-~]+:[^\r\n]*\r\n)*\r\n")
_ABSOLUTE = re.compile(r"http://([^/?#]+)(.*)")
_OF_THE_CONNECTION = re.compile(rb"(?im)^(?:host|connection|keep-alive|proxy-[^:]*):.*\r\n")


class Asked(Struct, frozen=True):
    """One request. path: of the URL, with its query; empty for a tunnel.

    headers: as they came, with the empty line at their end.
    """

    place: Place
    method: str = "CONNECT"
    path: str = ""
    headers: bytes = b""

    @property
    def scheme(self) -> str:
        """What is spoken with the place, as far as the request says."""
        return "http" if self.path else "https"

    @property
    def url(self) -> str:
        """The URL that is asked for by an http:// request."""
        return f"http://{self._authority}{self.path}"

    def head(self, target: str, authorization: str = "") -> bytes:
        """Return the head of the request that is sent on, the only one of its connection."""
        ours = f"Host: {self._authority}\r\nConnection: close\r\n{authorization}"
        line = f"{self.method} {target} HTTP/1.1\r\n{ours}".encode("latin-1")
        return line + _OF_THE_CONNECTION.sub(b"", self.headers)

    @property
    def _authority(self) -> str:
        host, port = self.place
        return host if port == DEFAULT_PORTS["http"] else spelled(self.place)


class Refused(Exception):
    """The door does not do it; `status` tells the client."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status

    def answer(self) -> bytes:
        """Return what the client is answered."""
        words = f"{self}\n".encode()
        head = (
            f"HTTP/1.1 {self.status} Refused\r\nConnection: close\r\nContent-Type: text/plain\r\n"
        )
        return f"{head}Content-Length: {len(words)}\r\n\r\n".encode() + words


async def read_request(reader: asyncio.StreamReader) -> Asked:
    """Read the head of a request. Raises Refused."""
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
    except TimeoutError:
        raise Refused(408, "The request was too slow.") from None
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise Refused(431, f"A head ends, and has at most {HEAD_BYTES} bytes.") from None
    line = _REQUEST.match(head)
    if line is None or not _HEADERS.fullmatch(head, line.end()):
        raise Refused(400, "This is no HTTP request.")
    method, target = line[1].decode(), line[2].decode("latin-1")
    if method == "CONNECT":
        return Asked(_place(target, "https"))
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise Refused(400, "This is a proxy: ask for a tunnel, or by an http:// URL.")
    path = found[2] if found[2].startswith("/") else f"/{found[2]}"
    return Asked(_place(found[1].rpartition("@")[2], "http"), method, path, head[line.end() :])


def spelled(place: Place) -> str:
    """Return host and port as people write them."""
    return f"{place[0]}:{place[1]}"


def _place(authority: str, scheme: str) -> Place:
    try:
        host, port = split_authority(authority, "host")
    except Invalid as refusal:
        raise Refused(400, refusal.detail) from None
    return host, port or DEFAULT_PORTS[scheme]
