"""Builds: list, watch, wait for."""

from collections.abc import Iterator
from urllib.parse import quote

from argosy.following import Lost, follow_live
from argosy.models import Build, LiveEvent, Page
from argosy.resources.live_pages import read_events
from argosy.resources.paging import every, poll
from argosy.transport import Transport

ENDED = frozenset({"succeeded", "failed", "cancelled"})


class Builds:
    """`client.builds`."""

    def __init__(self, transport: Transport, workspace: str) -> None:
        self._transport = transport
        self._workspace = workspace

    def list(self, *, limit: int = 50, cursor: str = "") -> Page[Build]:
        """Return one page, newest first."""
        path = f"/v1/workspaces/{quote(self._workspace)}/builds"
        return self._transport.get(path, Page[Build], query={"limit": limit, "cursor": cursor})

    def all(self) -> Iterator[Build]:
        """Yield all of them, newest first, page by page."""
        return every(lambda cursor: self.list(limit=200, cursor=cursor))

    def get(self, build_id: str) -> Build:
        """Return one as it is now."""
        return self._transport.get(_path(build_id), Build)

    def cancel(self, build_id: str, *, detail: str = "") -> Build:
        """Ask for its end. Raises Conflict if it has already ended otherwise."""
        body = {"detail": detail} if detail else {}
        return self._transport.post(f"{_path(build_id)}/cancel", Build, body)

    def events(self, build_id: str, *, after: int = 0) -> Iterator[LiveEvent]:
        """Yield what it has done so far after version `after`; its log lines have type `log`."""
        return read_events(self._transport, f"{_path(build_id)}/events", after)

    def follow(
        self, build_id: str, *, after: int = 0, lost: Lost | None = None
    ) -> Iterator[LiveEvent]:
        """Yield what it has done and does, to its end. See `follow_live`."""
        return follow_live(self._transport, f"{_path(build_id)}/events", after=after, lost=lost)

    def wait(self, build_id: str, *, timeout: float | None = None) -> Build:
        """Return it when it has ended. Raises StillGoing after `timeout` seconds."""
        if timeout is not None:
            return poll(
                lambda: self.get(build_id),
                lambda build: build.status in ENDED,
                timeout,
                f"Build {build_id}",
            )
        for _ in self.follow(build_id):
            pass
        return self.get(build_id)


def _path(build_id: str) -> str:
    return f"/v1/builds/{quote(build_id, safe='')}"
