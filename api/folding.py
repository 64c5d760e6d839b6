"""Reading one resource: its stream, folded. Always current."""

import re
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from api.times import stamp
from domain.decider import Decider, Recorded
from domain.errors import NotFound
from domain.ids import stream_name
from domain.ports import NOTHING, EventStore, StreamHead

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Folded[S](Struct, frozen=True):
    """A resource, and what its stream says about when."""

    id: str
    state: S
    head: StreamHead

    @property
    def created_at(self) -> str:
        """When its first event was appended; empty where there is none."""
        return stamp(self.head.events[0].at) if self.head.events else ""

    @property
    def updated_at(self) -> str:
        """When its last folding event was appended."""
        return stamp(self.head.events[-1].at) if self.head.events else ""


def folded[C, S, E](decider: Decider[C, S, E], id: str, events: Sequence[Recorded[E]]) -> Folded[S]:
    """Return the resource that a whole stream of folding events leads to."""
    last = events[-1].version
    head = StreamHead(events=events, folding_version=last, version=last, attempt=0)
    return Folded(id, decider.fold(recorded.event for recorded in events), head)


async def fold[C, S, E](
    store: EventStore, decider: Decider[C, S, E], id: str, *, events: int | None = None
) -> Folded[S]:
    """Return the resource now, or as it was after its first `events` folding events.

    An id that cannot be one gives the decider's initial state.
    """
    if not is_id(id):
        return Folded(id, decider.initial, NOTHING)
    head = await store.load(stream_name(decider.category, id))
    if events is not None and events < len(head.events):
        kept = head.events[:events]
        head = replace(head, events=kept, version=kept[-1].version if kept else 0)
    return Folded(id, decider.fold(recorded.event for recorded in head.events), head)


def is_id(text: str) -> bool:
    """Whether it has the form of an id; nothing else may reach the name of a stream."""
    return _ID.fullmatch(text) is not None


def missing(kind: str, name: str) -> NotFound:
    """Return the refusal for what is not there, and for what the caller may not see alike."""
    return NotFound(f"There is no {kind} {name[:100]!r}.")
