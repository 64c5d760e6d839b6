"""Runs: start, list, watch, wait for, cancel; and the files they leave."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from argosy.following import Lost, follow_live
from argosy.models import LiveEvent, Page, Run, RunFile
from argosy.resources.live_pages import read_events
from argosy.resources.paging import every, poll
from argosy.transport import Transport


class _Files(Struct, frozen=True):
    items: list[RunFile]


class Runs:
    """`client.runs`."""

    def __init__(self, transport: Transport, workspace: str) -> None:
        self._transport = transport
        self._workspace = workspace

    def start(
        self,
        slug: str,
        message: str,
        *,
        history: list[Any] | None = None,
        context: dict[str, Any] | None = None,
        user_id: str | None = None,
        conversation_id: str | None = None,
    ) -> Run:
        """Ask a deployment for a run; returns as soon as it is accepted."""
        return self._transport.post(
            f"/v1/workspaces/{quote(self._workspace)}/deployments/{quote(slug, safe='')}/runs",
            Run,
            {
                "message": message,
                "history": history,
                "context": context,
                "user_id": user_id,
                "conversation_id": conversation_id,
            },
        )

    def files(self, run_id: str) -> list[RunFile]:
        """Return the files that it left."""
        return self._transport.get(f"{_path(run_id)}/files", _Files).items

    def list(
        self,
        *,
        deployment: str = "",
        agent: str = "",
        status: str = "",
        limit: int = 50,
        cursor: str = "",
    ) -> Page[Run]:
        """Return one page, newest first."""
        query = {
            "deployment": deployment,
            "agent": agent,
            "status": status,
            "limit": limit,
            "cursor": cursor,
        }
        path = f"/v1/workspaces/{quote(self._workspace)}/runs"
        return self._transport.get(path, Page[Run], query=query)

    def all(self, *, deployment: str = "", agent: str = "", status: str = "") -> Iterator[Run]:
        """Yield all of them, newest first, page by page."""
        return every(
            lambda cursor: self.list(
                deployment=deployment, agent=agent, status=status, limit=200, cursor=cursor
            )
        )

    def get(self, run_id: str) -> Run:
        """Return one as it is now."""
        return self._transport.get(_path(run_id), Run)

    def cancel(self, run_id: str, *, detail: str = "") -> Run:
        """Ask for its end. Raises Conflict if it has already ended otherwise."""
        body = {"detail": detail} if detail else {}
        return self._transport.post(f"{_path(run_id)}/cancel", Run, body)

    def events(self, run_id: str, *, after: int = 0) -> Iterator[LiveEvent]:
        """Yield what it has done so far after version `after`."""
        return read_events(self._transport, f"{_path(run_id)}/events", after)

    def follow(
        self, run_id: str, *, after: int = 0, lost: Lost | None = None
    ) -> Iterator[LiveEvent]:
        """Yield what it has done and does, to its end. See `follow_live`."""
        return follow_live(self._transport, f"{_path(run_id)}/events", after=after, lost=lost)

    def wait(self, run_id: str, *, timeout: float | None = None) -> Run:
        """Return it when it has ended. Raises StillGoing after `timeout` seconds."""
        if timeout is not None:
            run = poll(lambda: self.get(run_id), lambda run: run.ended, timeout, f"Run {run_id}")
            return self.whole(run)
        for _ in self.follow(run_id):
            pass
        return self.whole(self.get(run_id))

    def whole(self, run: Run) -> Run:
        """Return it with all of its output, where that was cut."""
        if not run.output_digest:
            return run
        output = self._transport.get_bytes(f"{_path(run.id)}/output")
        return replace(run, output=output.decode(errors="replace"))

    def download(self, run_id: str, path: str) -> bytes:
        """Return a file that it left."""
        return self._transport.get_bytes(f"{_path(run_id)}/files/{quote(path)}")


def _path(run_id: str) -> str:
    return f"/v1/runs/{quote(run_id, safe='')}"
