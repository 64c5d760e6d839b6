"""An OpenTelemetry collector on loopback, which decodes what it is sent, or never answers."""

import gzip
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Seen(Struct, frozen=True):
    """A span as it arrived. Times are nanoseconds; failed: its status says so."""

    service: str
    name: str
    trace_id: str
    id: str
    parent: str
    kind: int
    began: int
    ended: int
    failed: bool
    attributes: Mapping[str, Any]


class Collector:
    """What arrived so far. `slow`: requests are taken, and never answered."""

    def __init__(self, *, slow: bool = False) -> None:
        self.slow = slow
        self.asked = threading.Event()
        self.over = threading.Event()
        self.url = ""
        self._spans: list[Seen] = []

    @property
    def environment(self) -> dict[str, str]:
        """What sends a process's spans here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def take(self, body: bytes) -> None:
        """Take a request."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {each.key: each.value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self._spans += [
                    Seen(
                        service["service.name"].string_value,
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.kind,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        span.status.code == 2,  # ERROR
                        {each.key: _value(each.value) for each in span.attributes},
                    )
                    for span in scope.spans
                ]

    def trace(self, trace_id: str) -> Sequence[Seen]:
        """Return the spans of a trace by when they began."""
        found = [span for span in list(self._spans) if span.trace_id == trace_id]
        return sorted(found, key=lambda span: span.began)

    def until(
        self, trace_id: str, whole: Callable[[Sequence[Seen]], object], seconds: float = 15.0
    ) -> Sequence[Seen]:
        """Return a trace as soon as it is whole."""
        deadline = time.monotonic() + seconds
        while not whole(found := self.trace(trace_id)):
            assert time.monotonic() < deadline, [span.name for span in found]
            time.sleep(0.02)
        return found


@contextmanager
def collecting(*, slow: bool = False) -> Generator[Collector]:
    """A collector, while the block lasts."""
    collector = Collector(slow=slow)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.asked.set()
            if collector.slow:
                collector.over.wait()
                return
            unpacked = self.headers.get("Content-Encoding") == "gzip"
            collector.take(gzip.decompress(body) if unpacked else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield collector
        finally:
            collector.over.set()
            server.shutdown()
            thread.join()


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
