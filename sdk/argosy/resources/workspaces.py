"""Workspaces: what everything but keys belongs to."""

from collections.abc import Iterator
from urllib.parse import quote

from argosy.models import Page, Workspace
from argosy.resources.paging import every
from argosy.transport import Transport


class Workspaces:
    """`client.workspaces`. A workspace is named by its slug or id."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, slug: str, *, name: str | None = None) -> Workspace:
        """Make one. Raises Conflict if the slug is taken. Needs the role admin."""
        return self._transport.post("/v1/workspaces", Workspace, {"slug": slug, "name": name})

    def list(self, *, limit: int = 50, cursor: str = "") -> Page[Workspace]:
        """Return one page, newest first."""
        query = {"limit": limit, "cursor": cursor}
        return self._transport.get("/v1/workspaces", Page[Workspace], query=query)

    def all(self) -> Iterator[Workspace]:
        """Yield all of them, page by page."""
        return every(lambda cursor: self.list(limit=200, cursor=cursor))

    def get(self, workspace: str) -> Workspace:
        """Return one."""
        return self._transport.get(f"/v1/workspaces/{quote(workspace, safe='')}", Workspace)

    def archive(self, workspace: str) -> None:
        """Close it for ever. Needs the role admin."""
        self._transport.delete(f"/v1/workspaces/{quote(workspace, safe='')}")
