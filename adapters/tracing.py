"""Traces: where the time of a request went, and that of the runs it asked for, for OpenTelemetry.

On where the standard variables name a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`); else nothing is
recorded, and what records is not even loaded. A collector that is slow or away costs spans, never
a request: they wait in a bounded queue for a thread of their own.

A trace goes from process to process in the log: what a request appends has the request's
`traceparent` as its causation id, and a worker goes on from the first event of its run. So it
survives whatever Redis loses, and is the same for every attempt.

No span holds a prompt, an answer, a query string, a header, or what an error says.
"""

import importlib
import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

type Attributes = Mapping[str, str | int | float | bool]

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
NOTHING = Context()

_format = TraceContextTextMapPropagator()
_tracer: Tracer | None = None


@contextmanager
def recorded_traces(name: str) -> Generator[None]:
    """Record this process's spans meanwhile, and send them, if the operator wants them."""
    global _tracer  # noqa: PLW0603  # a process has one, as it has one log
    if _tracer is not None or not is_wanted(os.environ):
        yield
        return
    # The SDK takes a tenth of a second and some MB to load, which only whoever uses it spends.
    with importlib.import_module("adapters.otlp").opened_tracer(name) as _tracer:
        try:
            yield
        finally:
            _tracer = None


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables say where to send traces, and not to send none."""
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    none = environment.get("OTEL_TRACES_EXPORTER", "otlp") == "none"
    return not (off or none) and any(environment.get(name) for name in ENDPOINTS)


def records() -> bool:
    """Whether spans are recorded in this process now."""
    return _tracer is not None


def read_traceparent(text: str) -> Context:
    """Return the context that a `traceparent` names, NOTHING for what is none."""
    return _format.extract({"traceparent": text}) if text else NOTHING


def traceparent_of(span: Span) -> str:
    """Return what names a span to others, empty for none. A context's is `get_current_span`."""
    of = span.get_span_context()
    return f"00-{of.trace_id:032x}-{of.span_id:016x}-{of.trace_flags:02x}" if of.is_valid else ""


def trace_id_of(traceparent: str) -> str:
    """Return the trace's id, for logs; empty if there is none."""
    return traceparent[3:35]


def begin(name: str, parent: Context, kind: SpanKind, attributes: Attributes | None = None) -> Span:
    """Begin a span; whoever does ends it. One that records nothing unless traces are wanted."""
    if _tracer is None:
        return INVALID_SPAN
    return _tracer.start_span(name, parent, kind, attributes)


@contextmanager
def current(span: Span) -> Generator[None]:
    """Have what is recorded meanwhile be part of a span."""
    if not span.get_span_context().is_valid:
        yield
        return
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        yield


def here() -> Context:
    """Return the context that spans are recorded in here."""
    return NOTHING if _tracer is None else trace.set_span_in_context(trace.get_current_span())


def past(
    name: str,
    seconds: float,
    *,
    within: Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    error: str = "",
    attributes: Attributes | None = None,
) -> None:
    """Record what has just ended and took so long, as a part of a trace; a trace it never begins.

    error: a short word for why it failed: empty if it did not.
    """
    if _tracer is None:
        return
    within = here() if within is None else within
    if not trace.get_current_span(within).get_span_context().trace_flags.sampled:
        return
    ended = time.time_ns()
    began = ended - round(max(0.0, seconds) * 1e9)
    span = _tracer.start_span(name, within, kind, attributes, start_time=began)
    if error:
        fail(span, error)
    span.end(ended)


def fail(span: Span, error: str) -> None:
    """Say that what a span is about failed, and why, in a short word."""
    span.set_attribute("error.type", error)
    span.set_status(Status(StatusCode.ERROR))
