"""An agent's HTTP surface, as its image serves it: RunAgents' `GET /healthz` and `POST /invoke`.

Every invocation is a process of its own, at most MAX_INVOCATIONS at once. It knows no users: who
may reach the port is for whoever starts the container to say.
In-image code: standard library only, Python 3.11 or newer.
"""

import json
import os
import signal
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import ProxyHandler, build_opener

from argosy._calling import tool_urls
from argosy._serving import Invocation, Outcome, invoke

PORT = 8080
MAX_BODY = 10_000_000
MAX_INVOCATIONS = 16
READ_SECONDS = 30
READY_SECONDS = 2
_TURNS = threading.BoundedSemaphore(MAX_INVOCATIONS)
UPSTREAM = ("HTTPError:", "URLError:")  # what escapes a handler when its gateway cannot be reached


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    server = ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT") or PORT)), Handler)  # noqa: S104 - a container's

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    _log("serving", port=server.server_port)
    with server:
        server.serve_forever()


class Handler(BaseHTTPRequestHandler):
    """Answers one request in JSON."""

    protocol_version = "HTTP/1.1"
    timeout = READ_SECONDS

    def do_GET(self) -> None:
        """Say that the server is there, or whether its gateway is."""
        match self.path.partition("?")[0]:
            case "/" | "/healthz":
                self._answer(200, _health())
            case "/readyz":
                ready = _is_ready()
                self._answer(200 if ready else 503, {"status": "ok" if ready else "not ready"})
            case _:
                self._answer(404, {"error": "there is nothing at this path"})

    def do_POST(self) -> None:
        """Invoke the agent."""
        request_id = self.headers.get("X-Request-Id") or uuid.uuid4().hex
        path = self.path.partition("?")[0]
        if path not in ("/invoke", "/invoke/stream"):
            self.close_connection = True
            self._answer(404, {"error": "there is nothing at this path"})
            return
        asked = self._asked()
        if asked is None:
            return
        if not _TURNS.acquire(blocking=False):
            error = f"{MAX_INVOCATIONS} invocations are under way; try again"
            self._answer(503, {"error": error, "request_id": request_id})
            return
        try:
            outcome = invoke(asked)
        except OSError as error:
            self._answer(500, {"error": str(error), "request_id": request_id})
            return
        finally:
            _TURNS.release()
        sys.stdout.write(outcome.printed)
        status = _status_of(outcome)
        _log("invoked", status=status, request_id=request_id, seconds=round(outcome.seconds, 3))
        if path == "/invoke/stream":
            self._stream(outcome)
        elif outcome.error:
            self._answer(status, {"error": outcome.error, "request_id": request_id})
        else:
            self._answer(200, _answered(outcome, request_id))

    def log_message(self, format: str, *args: object) -> None:
        """Log invocations alone, and those in JSON."""

    def _asked(self) -> "Invocation | None":
        """Return what is asked; None once it was refused."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal():
            return self._refuse(411, "Content-Length is required")
        if int(length) > MAX_BODY:
            return self._refuse(413, f"a body has at most {MAX_BODY} bytes")
        try:
            body: Any = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            return self._refuse(400, "the body is not JSON")
        match body:
            case {"message": str(message)} if message:
                history: Any = body.get("history") or []
                if not isinstance(history, list):
                    return self._refuse(400, "history is a list of messages")
                run_id = self.headers.get("X-Run-ID") or str(body.get("run_id") or "")
                user_id = self.headers.get("X-End-User-Id", "")
                return Invocation(message, history, run_id, user_id)  # type: ignore[reportUnknownArgumentType] - any JSON
            case _:
                return self._refuse(400, "message is required")

    def _refuse(self, status: int, error: str) -> None:
        self.close_connection = True  # what is left of the body is not read
        self._answer(status, {"error": error})

    def _answer(self, status: int, body: "dict[str, Any]") -> None:
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, outcome: Outcome) -> None:
        """Answer in events: the answer of a handler is one piece (contract §5)."""
        calls = [call["tool"] for call in outcome.calls]
        events: list[dict[str, Any]] = [
            {"type": "error", "message": outcome.error}
            if outcome.error
            else {"type": "content", "delta": outcome.response},
            {"type": "done", "model": os.environ.get("LLM_MODEL", ""), "tool_calls_made": calls},
        ]
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in events:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")


def _health() -> "dict[str, Any]":
    return {
        "status": "ok",
        "agent": os.environ.get("AGENT_NAME", ""),
        "model": os.environ.get("LLM_MODEL", ""),
        "tools": len(tool_urls()),
        "user_code": True,
    }


def _is_ready() -> bool:
    """Whether the gateway answers, where the container was told of one."""
    url = os.environ.get("LLM_GATEWAY_URL", "")
    if not url:
        return True
    base = url.removesuffix("/").removesuffix("/chat/completions").removesuffix("/v1")
    try:
        with build_opener(ProxyHandler({})).open(f"{base}/healthz", timeout=READY_SECONDS):
            return True
    except (OSError, ValueError):  # refused, late, an error's status, or no URL at all
        return False


def _status_of(outcome: Outcome) -> int:
    if outcome.timed_out:
        return 504
    if outcome.error:
        return 502 if outcome.error.startswith(UPSTREAM) else 500
    return 200


def _answered(outcome: Outcome, request_id: str) -> "dict[str, Any]":
    return {
        **outcome.extra,
        "response": outcome.response,
        "model": os.environ.get("LLM_MODEL", ""),
        "usage": {
            "prompt_tokens": outcome.input_tokens,
            "completion_tokens": outcome.output_tokens,
            "total_tokens": outcome.input_tokens + outcome.output_tokens,
        },
        "tool_calls_made": outcome.calls,
        "duration_ms": round(outcome.seconds * 1000),
        "request_id": request_id,
        "handler": "user",
    }


def _log(what: str, **fields: object) -> None:
    """Write a line of JSON to standard error."""
    sys.stderr.write(json.dumps({"event": what, **fields}) + "\n")
