"""The transcript as the gateway writes into it, and what it adds up to."""

from collections.abc import Sequence

from domain.entries import ModelCalled, RunEntry
from domain.errors import Conflict
from workers.gateway.session import Journal


class RunJournal:
    """See `session.Journal`. Counts the tokens of model calls.

    After `close` the run has ended and its transcript is sealed: what comes then is dropped, and
    what has to be stored first is refused.
    """

    def __init__(self, transcript: Journal) -> None:
        self._transcript = transcript
        self._is_closed = False
        self.model_calls = 0
        self.input_tokens = 0
        self.output_tokens = 0

    def add(self, entries: Sequence[RunEntry]) -> None:
        """See `session.Journal`."""
        if not self._is_closed:
            self._count(entries)
            self._transcript.add(entries)

    async def store(self, entries: Sequence[RunEntry]) -> None:
        """See `session.Journal`. Raises Conflict after the run's end."""
        if self._is_closed:
            raise Conflict("The run has ended.")
        self._count(entries)
        await self._transcript.store(entries)

    def close(self) -> None:
        """Take nothing more."""
        self._is_closed = True

    def _count(self, entries: Sequence[RunEntry]) -> None:
        for entry in entries:
            if isinstance(entry, ModelCalled):
                self.model_calls += 1
                self.input_tokens += entry.input_tokens
                self.output_tokens += entry.output_tokens
