"""An HTTP connection that costs next to nothing, so that what is measured is the server."""

import json
import re
import socket
from contextlib import closing
from types import TracebackType
from typing import Any, Self

SECONDS = 60.0  # for any answer
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Connection:
    """One kept-alive connection to the API of a server on this machine."""

    def __init__(self, port: int, key: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._heads = f"Host: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n".encode()
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._socket.close()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a JSON object and return the answer's."""
        data = json.dumps(body).encode()
        heads = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(data)
        self._send("POST", path, heads, data)
        head = self._until(b"\r\n\r\n")
        length = _LENGTH.search(head)
        assert length is not None, head
        while len(self._unread) < int(length[1]):
            self._receive()
        answer = self._take(int(length[1]))
        assert head.startswith(b"HTTP/1.1 20"), answer
        return json.loads(answer)

    def follow(self, path: str) -> None:
        """Ask for server-sent events, which `wait_for` then reads."""
        self._send("GET", path, b"Accept: text/event-stream\r\n", b"")

    def wait_for(self, mark: bytes) -> bytes:
        """Return what the server has sent up to `mark`, as soon as that is there."""
        return self._until(mark)

    def _send(self, method: str, path: str, heads: bytes, body: bytes) -> None:
        line = f"{method} {path} HTTP/1.1\r\n".encode()
        self._socket.sendall(b"".join((line, self._heads, heads, b"\r\n", body)))

    def _until(self, mark: bytes) -> bytes:
        while (found := self._unread.find(mark)) < 0:
            self._receive()
        return self._take(found + len(mark))

    def _take(self, count: int) -> bytes:
        taken, self._unread = self._unread[:count], self._unread[count:]
        return taken

    def _receive(self) -> None:
        data = self._socket.recv(1 << 16)
        assert data, self._unread
        self._unread += data


def free_port() -> int:
    """Return a port that nobody listens on right now."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody listens on a port."""
    with closing(socket.socket()) as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
