"""Agents and their versions."""

from collections.abc import Iterator
from urllib.parse import quote

from argosy.models import Agent, Page
from argosy.resources.names import is_id
from argosy.resources.paging import every
from argosy.transport import Transport


class Agents:
    """`client.agents`. An agent is named by its name in the workspace, or by its id."""

    def __init__(self, transport: Transport, workspace: str) -> None:
        self._transport = transport
        self._workspace = workspace

    def list(self, *, limit: int = 50, cursor: str = "") -> Page[Agent]:
        """Return one page, newest first."""
        path = f"/v1/workspaces/{quote(self._workspace)}/agents"
        return self._transport.get(path, Page[Agent], query={"limit": limit, "cursor": cursor})

    def all(self) -> Iterator[Agent]:
        """Yield all of them, newest first, page by page."""
        return every(lambda cursor: self.list(limit=200, cursor=cursor))

    def get(self, agent: str) -> Agent:
        """Return one with all its versions."""
        return self._transport.get(self._path(agent), Agent)

    def delete(self, agent: str) -> None:
        """Delete it and its deployment; runs in flight go on."""
        self._transport.delete(self._path(agent))

    def _path(self, agent: str) -> str:
        if is_id(agent):
            return f"/v1/agents/{agent}"
        return f"/v1/workspaces/{quote(self._workspace)}/agents/{quote(agent, safe='')}"
