"""The shape of every decision: events, commands, and the three functions that join them."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, dataclass_transform

from msgspec import Struct

from domain.errors import WrittenByNewer


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Event(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """A stored fact, past tense. Its tag is permanent: never renamed, never reused.

    A field's meaning never changes; new fields have defaults. To reshape one, add a new tag and an
    upcaster in `registry.py`.
    """

    @classmethod
    def tag(cls) -> str:
        """Return the stored type, such as `run.ended`."""
        tag = cls.__struct_config__.tag
        assert isinstance(tag, str)
        return tag


class Unknown(Event, tag="unknown"):
    """An event that this version of the code cannot read: written by a newer one."""

    fields: Any = None


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Command(Struct, frozen=True, kw_only=True):
    """A request, imperative. May be refused."""


class Recorded[E](Struct, frozen=True, kw_only=True):
    """An event as the store returns it.

    position: place in the log, from 1, without gaps; None for an entry.
    version: place in its stream, from 1, without gaps.
    at: when it was appended, UTC.
    actor: who caused it: `key:<id>` for a person's API key, `worker:<name>`, `system`.
    data: the exact bytes that are stored.
    """

    stream: str
    version: int
    position: int | None
    workspace_id: str
    type: str
    schema_version: int
    at: datetime
    actor: str
    command_id: str
    correlation_id: str
    causation_id: str
    data: bytes
    event: E


class Decider[C, S, E](Struct, frozen=True):
    """One category's rules. All three functions are pure: no I/O, no clock, no ids made."""

    category: str
    initial: S
    evolve: Callable[[S, E], S]
    decide: Callable[[C, S], list[E]]

    def fold(self, events: Iterable[E], state: S | None = None) -> S:
        """Return the state that `events` lead to, from `state` or from the beginning.

        Raises WrittenByNewer at an event that this code cannot read: a guess is no state.
        """
        current = self.initial if state is None else state
        for event in events:
            if isinstance(event, Unknown):
                raise WrittenByNewer(self.category)
            current = self.evolve(current, event)
        return current
