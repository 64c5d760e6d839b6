"""Specifications of deciders: given these events, when this command, then these events."""

from collections.abc import Sequence

from msgspec import Struct

from domain.decider import Decider, Event
from domain.errors import ArgosyError


class When[E](Struct, frozen=True):
    """What came of a command: events, or the refusal that was raised."""

    outcome: Sequence[E] | ArgosyError

    def then(self, *expected: E | type[ArgosyError]) -> ArgosyError | None:
        """Check the outcome: exactly these events, or a refusal of exactly this class.

        Returns the refusal, for those who want to see its members.
        """
        if isinstance(self.outcome, ArgosyError):
            assert (type(self.outcome),) == expected, f"refused: {self.outcome.detail}"
            return self.outcome
        assert list(self.outcome) == list(expected)
        return None


class Spec[C, S, E: Event](Struct, frozen=True):
    """One decider, and what has happened so far."""

    decider: Decider[C, S, E]
    events: Sequence[E] = ()

    def given(self, *events: E) -> "Spec[C, S, E]":
        """Return the spec after these events."""
        return Spec(self.decider, (*self.events, *events))

    def state(self) -> S:
        """Return what the events fold to."""
        return self.decider.fold(self.events)

    def when(self, command: C) -> When[E]:
        """Decide. What is decided is folded too, as the next command would."""
        state = self.state()
        try:
            events = self.decider.decide(command, state)
        except ArgosyError as refusal:
            return When(refusal)
        self.decider.fold(events, state)
        return When(events)
