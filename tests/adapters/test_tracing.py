"""Traces: on when a collector is named, and never in the way of anything."""

import threading
import time
from collections.abc import Iterator

import pytest
from opentelemetry.trace import INVALID_SPAN, SpanKind

from adapters import otlp
from adapters.tracing import (
    NOTHING,
    begin,
    current,
    here,
    is_wanted,
    past,
    read_traceparent,
    recorded_traces,
    traceparent_of,
)
from tests.collectors import Collector, collecting

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = f"{GIVEN[:-2]}00"
TRACE = GIVEN[3:35]


@pytest.fixture(autouse=True)
def _over(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait for what still tries to send: its pauses are random, as tests elsewhere must not be."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2")
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
        assert not thread.is_alive(), thread.name


def use(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in collector.environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_standard_variables_say_whether(environment: dict[str, str], *, wanted: bool) -> None:
    assert is_wanted(environment) is wanted


def test_nothing_is_recorded_unless_somebody_wants_it() -> None:
    with recorded_traces("api"):
        span = begin("request", read_traceparent(GIVEN), SpanKind.SERVER)
        with current(span):
            assert here() is NOTHING
            past("append", 0.1)

    assert span is INVALID_SPAN


def test_spans_go_on_from_what_a_client_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        use(collector, monkeypatch)
        with recorded_traces("api"):
            span = begin("request", read_traceparent(GIVEN), SpanKind.SERVER)
            with current(span):
                past("append", 0.25, error="version-conflict")
            span.end()
            named = traceparent_of(span)
        append, request = collector.trace(TRACE)

    assert (request.name, request.parent) == ("request", GIVEN[36:52])
    assert (append.parent, append.failed) == (request.id, True)
    assert append.ended - append.began == 250_000_000
    assert append.attributes == {"error.type": "version-conflict"}
    assert named == f"00-{TRACE}-{request.id}-01"
    assert request.service == "argosy-api"


@pytest.mark.parametrize("given", ["", "nonsense", f"00-{'0' * 32}-{'0' * 16}-01", "é"])
def test_what_is_no_trace_begins_one(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    with collecting() as collector:
        use(collector, monkeypatch)
        with recorded_traces("api"):
            span = begin("request", read_traceparent(given), SpanKind.SERVER)
            span.end()
        [request] = collector.trace(traceparent_of(span)[3:35])

    assert request.parent == ""


def test_a_trace_that_its_client_does_not_record_is_passed_on_and_not_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with collecting() as collector:
        use(collector, monkeypatch)
        with recorded_traces("host"):
            span = begin("request", read_traceparent(UNSAMPLED), SpanKind.SERVER)
            past("queued", 0.1, within=read_traceparent(traceparent_of(span)))
            span.end()

    assert traceparent_of(span)[:36] == UNSAMPLED[:36]
    assert traceparent_of(span).endswith("-00")
    assert collector.trace(TRACE) == []


def test_a_collector_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not who records, though more comes than the queue takes, and not the end of the process."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "256")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64")
    with collecting(slow=True) as collector:
        use(collector, monkeypatch)
        with recorded_traces("api"):
            assert begin("first", NOTHING, SpanKind.SERVER).end() is None
            assert collector.asked.wait(5)
            began = time.monotonic()
            for _ in range(2000):
                begin("request", NOTHING, SpanKind.SERVER).end()
            recording = time.monotonic() - began
            began = time.monotonic()
        ending = time.monotonic() - began

    assert recording < 2
    assert ending < otlp.LAST_SECONDS + 0.5


def test_a_collector_that_is_away_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    with recorded_traces("api"):
        begin("request", NOTHING, SpanKind.SERVER).end()
        began = time.monotonic()

    assert time.monotonic() - began < otlp.LAST_SECONDS + 0.5
