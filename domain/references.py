"""Which blobs the log still needs: what garbage collection keeps.

A digest is found as text, whatever field it is in, so that no event has to be listed here and none
can be forgotten.
"""

import re
from typing import Any

from domain.agents import AgentArchived, AgentCreated
from domain.builds import BuildEnded, BuildRequested
from domain.decider import Recorded, Unknown
from domain.errors import WrittenByNewer
from domain.ids import split_stream
from domain.runs import RunEnded, RunRequested
from domain.workspaces import WorkspaceArchived

_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")


class References:
    """What was seen of the log names these blobs.

    What an agent's versions and builds name is needed until the agent or its workspace is deleted
    and its last run and build have ended. Everything else is history, and needed for ever.
    """

    def __init__(self) -> None:
        self._history: set[str] = set()
        self._of_agents: dict[str, set[str]] = {}
        self._workspaces: dict[str, str] = {}
        self._deleted: set[str] = set()
        self._under_way: dict[str, str] = {}

    def see(self, recorded: Recorded[Any]) -> None:
        """Take in the next event of the log. Raises WrittenByNewer: what it asks for is unknown."""
        category, id = split_stream(recorded.stream)
        match recorded.event:
            case Unknown():
                raise WrittenByNewer(category)
            case AgentCreated(agent_id=agent, workspace_id=workspace):
                self._workspaces[agent] = workspace
            case RunRequested(agent_id=agent) | BuildRequested(agent_id=agent):
                self._under_way[recorded.stream] = agent
            case AgentArchived() | WorkspaceArchived():
                self._deleted.add(id)
            case _:
                pass
        self._note(recorded, category, id)
        if isinstance(recorded.event, RunEnded | BuildEnded):
            self._under_way.pop(recorded.stream, None)

    def needed(self) -> set[str]:
        """Return the digests of all blobs that are needed."""
        busy = set(self._under_way.values())
        needed = set(self._history)
        for agent, digests in self._of_agents.items():
            if agent in busy or not self._is_deleted(agent):
                needed |= digests
        return needed

    def _note(self, recorded: Recorded[Any], category: str, id: str) -> None:
        digests = _DIGEST.findall(recorded.data)
        if not digests:
            return
        agent = {"agent": id, "build": self._under_way.get(recorded.stream)}.get(category)
        into = self._history if agent is None else self._of_agents.setdefault(agent, set())
        into.update(digest.decode() for digest in digests)

    def _is_deleted(self, agent: str) -> bool:
        return agent in self._deleted or self._workspaces.get(agent) in self._deleted
