"""One attempt at a run or a build as those see it who watch: its log lines' ids, and its span."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, get_current_span
from structlog.contextvars import bind_contextvars

from adapters.tracing import (
    Attributes,
    begin,
    current,
    fail,
    past,
    read_traceparent,
    trace_id_of,
    traceparent_of,
)
from domain.decider import Recorded
from domain.ids import split_stream
from workers.claims import Claim


@contextmanager
def attempted(claim: Claim[Any], name: str, attributes: Attributes) -> Generator[Span]:
    """Do what a claim is for, as a part of the trace of the request that asked for it.

    Log lines carry its ids from here on, to the end of the task that this is called in. What is
    raised is a failure of the span. Any: whatever is claimed.
    """
    first, last = claim.head.events[0], claim.head.events[-1]
    bind_contextvars(**ids_of(first), attempt=claim.attempt)
    within = _trace_of(first)
    past("queued", (datetime.now(UTC) - last.at).total_seconds(), within=within)
    category, id = split_stream(first.stream)
    ids = {f"argosy.{category}.id": id, "argosy.attempt": claim.attempt}
    span = begin(name, within, SpanKind.CONSUMER, ids | dict(attributes))
    try:
        with current(span):
            yield span
    except BaseException as error:
        fail(span, type(error).__name__)
        raise
    finally:
        span.end()


def ids_of(first: Recorded[Any]) -> dict[str, str]:
    """Return what log lines about a run or a build carry, by its stream's first event."""
    category, id = split_stream(first.stream)
    traceparent = traceparent_of(get_current_span(_trace_of(first)))
    ids = {
        category: id,
        "workspace": first.workspace_id,
        "request_id": first.correlation_id,
        "trace_id": trace_id_of(traceparent),
    }
    return {name: value for name, value in ids.items() if value}


def _trace_of(first: Recorded[Any]) -> Context:
    return read_traceparent(first.causation_id)
