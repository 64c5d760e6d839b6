"""Which of the log's events a caller may read: those of workspaces that it sees."""

from typing import Any

from api.auth import Caller
from api.calls import Call
from api.folding import fold
from domain.catalog import API_KEY, Absent, Archived
from domain.decider import Recorded
from domain.ids import split_stream


class Visible:
    """Judges recorded events for one caller, remembering what it found.

    An event without a workspace is the organization's (a key for all its workspaces), and hidden
    from a caller that is narrowed to one.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._caller: Caller = call.caller
        self._workspaces: dict[str, bool] = {}
        self._streams: dict[str, bool] = {}

    async def sees(self, recorded: Recorded[Any]) -> bool:
        """Whether the caller may read this event."""
        id = recorded.workspace_id
        if not id:
            return await self._sees_stream(recorded.stream)
        if id not in self._workspaces:
            self._workspaces[id] = await self._call.sees(id)
        return self._workspaces[id]

    async def _sees_stream(self, stream: str) -> bool:
        if self._caller.workspace_id:
            return False
        if stream not in self._streams:
            self._streams[stream] = await self._owns(stream)
        return self._streams[stream]

    async def _owns(self, stream: str) -> bool:
        category, id = split_stream(stream)
        if category != API_KEY.category:
            return False
        state = (await fold(self._call.store, API_KEY, id)).state
        if isinstance(state, Absent):
            return False
        active = state.last if isinstance(state, Archived) else state
        return active.scope == self._caller.organization_id
