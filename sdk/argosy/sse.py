"""Server-sent events, read from bytes. Only the standard library.

Lines end at line feeds only: text may hold U+2028 and its like, at which `str.splitlines` breaks.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Frame(NamedTuple):
    """One event. `id` empty: it cannot be resumed from (a delta)."""

    id: str
    event: str
    data: bytes


def frames(chunks: Iterable[bytes]) -> Iterator[Frame]:
    """Yield whole frames; what is left of a broken connection's last one is dropped."""
    rest = b""
    id, event, data = "", "message", list[bytes]()
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if not line:
                if data:
                    yield Frame(id, event, b"\n".join(data))
                id, event, data = "", "message", []
                continue
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            match name:
                case b"id":
                    id = value.decode()
                case b"event":
                    event = value.decode()
                case b"data":
                    data.append(value)
                case _:
                    pass  # comments (heartbeats), and fields to ignore
