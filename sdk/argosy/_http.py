"""One HTTP call to the gateway, whose answer is read as it comes, and the JSON in it.

In-sandbox code: see `_channel`. Never by a proxy and never encrypted: the URLs are the gateway's,
on this sandbox's own loopback.
"""

from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import urlsplit

TYPE_CHECKING = False  # what `typing` calls so, without the price of importing it
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self

# What a call may raise when nobody answers, or not to the end.
FAILURES = (OSError, HTTPException)

PIECE = 65_536


class Answer:
    """What was answered; the connection ends with it."""

    def __init__(self, connection: HTTPConnection, response: HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self._length: int | None = response.length
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        self.retry_after = response.headers.get("Retry-After", "")

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *error: object) -> None:
        self._response.close()
        self._connection.close()

    def pieces(self) -> "Iterator[bytes]":
        """Yield the body as it comes. Raises FAILURES where it breaks off."""
        missing = self._length
        while missing is None or missing > 0:
            piece = self._response.read1(PIECE)
            if not piece and missing is None:
                return
            if not piece:  # `read1` takes an early end for the end
                raise ConnectionError("it broke off")
            missing = missing and missing - len(piece)
            yield piece

    def lines(self) -> "Iterator[bytes]":
        """Yield the lines of the body as they come, without their ends."""
        rest = b""
        for piece in self.pieces():
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line.removesuffix(b"\r")
        if rest:
            yield rest

    def text(self, most: int) -> "tuple[str, bool]":
        """Return the first `most` bytes of the body as text, and whether that is all."""
        body = bytearray()
        for piece in self.pieces():
            body += piece
            if len(body) > most:
                return body[:most].decode("utf-8", "ignore"), False
        return body.decode("utf-8", "replace"), True


def call(
    method: str, url: str, *, body: "bytes | None", headers: "dict[str, str]", seconds: float
) -> Answer:
    """Call a URL; `seconds` is the longest wait for anything. Raises FAILURES."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, {**headers, "Connection": "close"})
        return Answer(connection, connection.getresponse())
    except BaseException:
        connection.close()
        raise


# Any: JSON values of whatever form somebody sent.
def as_object(value: "Any") -> "dict[str, Any]":
    """Return a JSON object, an empty one for anything else."""
    return value if isinstance(value, dict) else {}  # type: ignore[reportUnknownVariableType] - as above


def as_list(value: "Any") -> "list[Any]":
    """Return a JSON array, an empty one for anything else."""
    return value if isinstance(value, list) else []  # type: ignore[reportUnknownVariableType] - as above
