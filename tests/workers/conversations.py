"""A model and tools over HTTP that answer as a test tells them to, and know what was asked."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

type Piece = bytes | threading.Event
"""Bytes to send, or something to wait for before the next."""


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """One answer. `whole`: it is ended as HTTP wants it; else the connection just breaks."""

    pieces: list[Piece]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    whole: bool = True


@dataclass
class World:
    """What models and tools answer, in order, and what they were asked."""

    url: str = ""
    models: list[Reply] = field(default_factory=list[Reply])
    tools: list[Reply] = field(default_factory=list[Reply])
    asked: list[Asked] = field(default_factory=list[Asked])

    @property
    def conversations(self) -> list[list[dict[str, Any]]]:
        """The messages that the model was given, each time."""
        return [each.json["messages"] for each in self.asked if "completions" in each.path]

    @property
    def calls(self) -> list[Asked]:
        """What tools were asked."""
        return [each for each in self.asked if "completions" not in each.path]

    def environment(self, *functions: str, **routes: dict[str, str]) -> dict[str, str]:
        """Return what tells an agent of this world. `functions` have no route."""
        names = [*functions, *routes]
        definitions: list[dict[str, Any]] = [
            {"type": "function", "function": {"name": name, "parameters": {}}} for name in names
        ]
        tools = {name.partition("__")[0] for name in names}
        return {
            "LLM_GATEWAY_URL": f"{self.url}/v1/chat/completions",
            "LLM_MODEL": "a-model",
            "TOOL_DEFINITIONS_JSON": json.dumps(definitions),
            "TOOL_ROUTES_JSON": json.dumps(routes),
            **{
                f"TOOL_URL_{tool.upper().replace('-', '_')}": f"{self.url}/tools/{tool}"
                for tool in tools
            },
        }


def streamed(*deltas: dict[str, Any], finish: str | None = "stop") -> Reply:
    """Return a stream of deltas, and of usage."""
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": each}]} for each in deltas]
    if finish is not None:
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    usage = {"prompt_tokens": 10, "completion_tokens": 4}
    chunks.append({"choices": [], "usage": usage, "model": "a-model"})
    pieces: list[Piece] = [event(each) for each in chunks]
    return Reply([*pieces, b"data: [DONE]\n\n"], headers={"Content-Type": "text/event-stream"})


def event(content: dict[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def said(*texts: str) -> Reply:
    """Return a stream of texts."""
    return streamed(*({"content": text} for text in texts))


def wanting(*calls: tuple[str, str], text: str = "", id: str = "call-1") -> Reply:
    """Return a stream of tool calls, their arguments in two pieces."""
    deltas: list[dict[str, Any]] = [{"content": text}] if text else []
    for index, (name, arguments) in enumerate(calls):
        half = len(arguments) // 2
        call_id = f"{id}{'abc'[index]}" if id else ""
        head = {"index": index, "id": call_id, "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [head]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": part}}]}
            for part in (arguments[:half], arguments[half:])
        ]
    return streamed(*deltas, finish="tool_calls")


def answered(content: object, status: int = 200, **headers: str) -> Reply:
    """Return JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    kind = {"Content-Type": "application/json", **named}
    return Reply([json.dumps(content).encode()], status, kind)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: World

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(length)
        self.world.asked.append(Asked(self.command, self.path, headers, body))
        replies = self.world.models if "completions" in self.path else self.world.tools
        reply = replies.pop(0) if replies else answered({"error": "no more replies"}, 500)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in reply.pieces:
            if isinstance(piece, threading.Event):
                piece.wait(20)
            else:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
        if reply.whole:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    do_GET = do_DELETE = do_PUT = do_POST  # noqa: N815  # the library's names

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def world() -> Generator[World]:
    """Serve a world on a free port."""
    made = World()
    handler = type("Handler", (_Handler,), {"world": made})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made
        server.shutdown()
        thread.join()
