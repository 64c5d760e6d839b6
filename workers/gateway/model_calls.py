"""One model call as it is written down, whatever became of it."""

import time

from prometheus_client import Counter, Histogram

from adapters.facts import status_class
from adapters.metrics import SECONDS
from domain.entries import ModelCalled
from domain.ids import new_id
from domain.models import Usage, cost_usd
from workers.gateway.providers import Chosen
from workers.gateway.session import Journal
from workers.gateway.usage import Meter

MAX_TEXT = 500
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
    """

    def __init__(self, journal: Journal) -> None:
        self.id = new_id()
        self.model = ""
        self.chosen: Chosen | None = None
        self.streamed = False
        self.usage: Usage | None = None
        self.error = ENDED_EARLY
        self.failure = ""
        self._journal = journal
        self._began = time.monotonic()
        self._first = 0.0

    def first_byte(self) -> None:
        """The answer begins; only the first time counts."""
        self._first = self._first or self._elapsed()

    def count(self, meter: Meter) -> None:
        """The answer is over: take what was read of it."""
        meter.close()
        self.usage, self.failure = meter.usage, meter.failure

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
        self._journal.add([entry])
        _count(entry, chosen)

    def _elapsed(self) -> float:
        return round((time.monotonic() - self._began) * 1000, 3)


def _count(entry: ModelCalled, chosen: Chosen | None) -> None:
    vendor = (chosen.provider.serves or chosen.provider.vendor) if chosen else "none"
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
