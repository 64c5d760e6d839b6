"""One model call as it is written down, whatever became of it."""

import time

from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram

from adapters.facts import status_class
from adapters.metrics import SECONDS
from adapters.tracing import Attributes, past
from domain.entries import ModelCalled
from domain.ids import new_id
from domain.models import Usage, cost_usd
from workers.gateway.providers import Chosen
from workers.gateway.session import Session
from workers.gateway.usage import Meter

MAX_TEXT = 500
CONVENTIONAL = {"bedrock": "aws.bedrock", "playground": "argosy.playground"}
ENDED_EARLY = "The call was ended before its answer was complete."

CALLS = Counter("argosy_model_calls_total", "Model calls.", ["vendor", "status"])
CALL_SECONDS = Histogram(
    "argosy_model_call_seconds",
    "Time of a model call, from its head to its last byte.",
    ["vendor"],
    buckets=(*SECONDS, 60.0, 120.0, 300.0),
)
TOKENS = Counter("argosy_model_tokens_total", "Tokens that models used.", ["vendor", "kind"])


class ModelCall:
    """What is known of a call so far. `error` is empty once the answer was complete.

    failure: what the provider's own stream says went wrong, whatever the agent did on hearing it.
    answered_by: the model, as the provider calls what answered.
    """

    def __init__(self, session: Session) -> None:
        self.id = new_id()
        self.model = ""
        self.chosen: Chosen | None = None
        self.streamed = False
        self.usage: Usage | None = None
        self.error = ENDED_EARLY
        self.failure = ""
        self.answered_by = ""
        self._session = session
        self._began = time.monotonic()
        self._first = 0.0

    def first_byte(self) -> None:
        """The answer begins; only the first time counts."""
        self._first = self._first or self._elapsed()

    def count(self, meter: Meter) -> None:
        """The answer is over: take what was read of it."""
        meter.close()
        self.usage, self.failure = meter.usage, meter.failure
        self.answered_by = meter.model[:MAX_TEXT]

    def write_down(self, status: int) -> None:
        """Make the entry. `status`: what the agent was answered, 0 for nothing."""
        chosen, usage = self.chosen, self.usage or Usage()
        entry = ModelCalled(
            call_id=self.id,
            provider=chosen.name if chosen else "",
            model=(chosen.model if chosen else self.model)[:MAX_TEXT],
            status=status,
            input_tokens=usage.input,
            output_tokens=usage.output,
            cost_usd=_cost(chosen, self.usage) if chosen else None,
            milliseconds=self._elapsed(),
            first_byte_milliseconds=self._first,
            streamed=self.streamed,
            error=self.error[:MAX_TEXT],
        )
        self._session.journal.add([entry])
        _count(entry, chosen)
        past(
            f"chat {entry.model}",
            entry.milliseconds / 1000,
            within=self._session.trace,
            kind=SpanKind.CLIENT,
            error=_error(entry),
            attributes=_attributes(entry, chosen, self.answered_by),
        )

    def _elapsed(self) -> float:
        return round((time.monotonic() - self._began) * 1000, 3)


def _vendor(chosen: Chosen | None) -> str:
    return (chosen.provider.serves or chosen.provider.vendor) if chosen else "none"


def _attributes(entry: ModelCalled, chosen: Chosen | None, answered_by: str) -> Attributes:
    """Return what OpenTelemetry's conventions for generative AI call it."""
    vendor = _vendor(chosen)
    attributes: dict[str, str | int | float | bool] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": CONVENTIONAL.get(vendor, vendor),
        "gen_ai.request.model": entry.model,
        "gen_ai.request.stream": entry.streamed,
        "gen_ai.usage.input_tokens": entry.input_tokens,
        "gen_ai.usage.output_tokens": entry.output_tokens,
        "http.response.status_code": entry.status,
        "argosy.model_provider": entry.provider,
        "argosy.call.id": entry.call_id,
    }
    if answered_by:
        attributes["gen_ai.response.model"] = answered_by
    if entry.streamed and entry.first_byte_milliseconds:
        seconds = entry.first_byte_milliseconds / 1000
        attributes["gen_ai.response.time_to_first_chunk"] = seconds
    return attributes


def _error(entry: ModelCalled) -> str:
    """Return why it failed in a word; what the error says may be anything."""
    if entry.status >= 400:
        return str(entry.status)
    return "interrupted" if entry.error else ""


def _count(entry: ModelCalled, chosen: Chosen | None) -> None:
    vendor = _vendor(chosen)
    CALLS.labels(vendor, status_class(entry.status)).inc()
    CALL_SECONDS.labels(vendor).observe(entry.milliseconds / 1000)
    TOKENS.labels(vendor, "input").inc(entry.input_tokens)
    TOKENS.labels(vendor, "output").inc(entry.output_tokens)


def _cost(chosen: Chosen, usage: Usage | None) -> float | None:
    """Return what it cost: nothing here, and nobody knows what without a usage."""
    if chosen.provider.serves:
        return 0.0
    if usage is None:
        return None
    return cost_usd(chosen.model, usage)
