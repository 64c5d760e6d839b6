"""What records and sends spans, loaded only where somebody wants them; see `tracing.py`.

All is set by the standard variables: where to, headers, timeout, sampler, sizes of the queue.
"""

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer

LAST_SECONDS = 1.0  # for what is still to be sent when the process ends


@contextmanager
def opened_tracer(name: str) -> Generator[Tracer]:
    """Record spans, and send them in the background, as the process called `name`."""
    named = {"service.name": os.environ.get("OTEL_SERVICE_NAME", f"argosy-{name}")}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield provider.get_tracer("argosy")
    finally:
        # The SDK waits for a slow collector as long as for a quick one. A thread that does not
        # keep the process alive waits instead, and we for it only so long.
        last = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(LAST_SECONDS)
