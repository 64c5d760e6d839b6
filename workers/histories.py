"""What the log holds of a transcript: its Merkle frontier, and whether anything was seen of it."""

from typing import Any

from msgspec import Struct

from domain import entries
from domain.builds import BuildClaimed
from domain.decider import Recorded
from domain.merkle import Frontier, entry_leaf
from domain.ports import EventStore
from domain.runs import RunClaimed

PAGE = 1000


class History(Struct, frozen=True, kw_only=True):
    """A transcript as it is stored, over all attempts.

    version: the stream's last version. seen: something of the last attempt left its sandbox.
    """

    frontier: Frontier = Frontier()
    version: int = 0
    seen: bool = False


async def read_history(store: EventStore, stream: str) -> History:
    """Read a whole stream, in pages. Only final if no worker can append any more (see `fence`)."""
    frontier, version, seen = Frontier(), 0, False
    while page := await store.read(stream, after=version, limit=PAGE):
        for recorded in page:
            if recorded.position is None:
                frontier = with_entry(frontier, recorded)
                seen = seen or is_output(recorded.event)
            elif isinstance(recorded.event, RunClaimed | BuildClaimed):
                seen = False
        version = page[-1].version
    return History(frontier=frontier, version=version, seen=seen)


def with_entry(frontier: Frontier, recorded: Recorded[Any]) -> Frontier:
    """Return the frontier with one more stored entry."""
    return frontier.add(entry_leaf(recorded.version, recorded.type, recorded.data))


def is_output(event: Any) -> bool:
    """Whether an entry came from the agent, rather than being said about it."""
    match event:
        case entries.LogWritten(stream="system"):
            return False
        case _:
            return True
