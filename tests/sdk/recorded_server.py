"""A real HTTP server that plays back answers, and remembers what it was asked."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from msgspec import Struct


class Asked(Struct, frozen=True):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Answer(Struct, frozen=True, kw_only=True):
    """What to answer.

    chunks: a body sent piece by piece; then the connection is closed in order, broken (`drop`), or
    left open until the test is over (`stay`).
    """

    status: int = 200
    body: Any = None
    raw: bytes | None = None
    headers: dict[str, str] = {}
    chunks: list[bytes] | None = None
    drop: bool = False
    stay: bool = False


class RecordedServer:
    """Answers each (method, path) with its next answer; the last one stays."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self._answers: dict[tuple[str, str], list[Answer]] = {}
        self._lock = threading.Condition()
        self.over = threading.Event()

    def answer(self, method: str, path: str, *answers: Answer) -> None:
        """Say what comes for `path` (without its query)."""
        self._answers[(method, path)] = list(answers)

    def requests(self, method: str, path: str) -> list[Asked]:
        """Return what was asked of `path`."""
        return [
            each for each in self.asked if (each.method, each.path.split("?")[0]) == (method, path)
        ]

    def wait_for(self, method: str, path: str) -> None:
        """Return when `path` was asked for."""
        with self._lock:
            assert self._lock.wait_for(lambda: self.requests(method, path), timeout=20)

    def take(self, asked: Asked) -> Answer:
        """Remember a request and choose its answer."""
        with self._lock:
            self.asked.append(asked)
            self._lock.notify_all()
            waiting = self._answers.get((asked.method, asked.path.split("?")[0]), [])
            if not waiting:
                problem = {"type": "/problems/not-found", "detail": "There is no such thing."}
                return Answer(status=404, body=problem)
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]


def problem(status: int, type: str, detail: str, **members: Any) -> Answer:
    """Return an RFC 9457 problem."""
    body = {"type": f"/problems/{type}", "status": status, "title": type, "detail": detail}
    headers = {"Content-Type": "application/problem+json", "X-Request-Id": "req-1"}
    return Answer(status=status, body=body | {"request_id": "req-1"} | members, headers=headers)


def events(*frames: bytes, drop: bool = False, stay: bool = False) -> Answer:
    """Return a stream of server-sent events."""
    return Answer(
        chunks=list(frames), drop=drop, stay=stay, headers={"Content-Type": "text/event-stream"}
    )


def frame(version: int | None, type: str, **fields: Any) -> bytes:
    """Return one frame as the API writes it."""
    head = b"" if version is None else b"id: %d\n" % version
    at = {} if version is None else {"version": version, "at": "2026-11-22T12:00:00.000000Z"}
    data = json.dumps({"type": type, **at, **fields}, ensure_ascii=False).encode()
    return head + b"event: " + type.encode() + b"\ndata: " + data + b"\n\n"


@contextmanager
def recorded_server() -> Generator[RecordedServer]:
    """Serve on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = self.rfile.read(length)
            asked = Asked(
                self.command,
                self.path,
                {name.lower(): value for name, value in self.headers.items()},
                json.loads(sent) if sent else None,
            )
            _play(self, playing.take(asked), playing.over)

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - the names are http.server's

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        playing = RecordedServer(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield playing
        finally:
            playing.over.set()
            server.shutdown()
            thread.join()


def _play(handler: BaseHTTPRequestHandler, answer: Answer, over: threading.Event) -> None:
    body = answer.raw if answer.raw is not None else _encoded(answer.body)
    handler.send_response(answer.status)
    for name, value in answer.headers.items():
        handler.send_header(name, value)
    if answer.chunks is not None:
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for chunk in answer.chunks:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            handler.wfile.flush()
        if answer.stay:
            over.wait(30)
        elif not answer.drop:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True
        return
    if answer.drop:
        handler.send_header("Content-Length", str(len(body) + 10))
        handler.close_connection = True
    else:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _encoded(body: Any) -> bytes:
    return b"" if body is None else json.dumps(body).encode()
