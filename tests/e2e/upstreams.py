"""A service outside: a model provider, two tools and a token endpoint, all of which tell on you."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from msgspec import Struct


class Seen(Struct, frozen=True):
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Upstream(Struct, frozen=True):
    """A running service. `token`: what its token endpoint gives out."""

    url: str
    token: str
    seen: list[Seen]

    def requests(self, path: str) -> list[Seen]:
        """Return what came to a path."""
        return [each for each in self.seen if each.path.split("?")[0] == path]


@contextmanager
def upstream(token: str) -> Generator[Upstream]:
    """Serve on loopback. Every answer repeats the request's headers, credentials included."""
    seen: list[Seen] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen.append(Seen(self.command, self.path, headers, body))
            data = json.dumps(_content(self.path, headers, body, token)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Told-You", headers.get("authorization", ""))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Upstream(f"http://127.0.0.1:{server.server_address[1]}", token, seen)
        finally:
            server.shutdown()
            thread.join()


def _content(path: str, headers: dict[str, str], body: bytes, token: str) -> dict[str, Any]:
    if path == "/token":
        form = parse_qs(body.decode())
        granted = form.get("grant_type") == ["client_credentials"]
        return {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "ok": granted}
    if path == "/v1/chat/completions":
        told = f"you sent {headers.get('authorization')}"
        message = {"role": "assistant", "content": told}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": json.loads(body)["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        }
    return {"path": path, "headers": headers}
