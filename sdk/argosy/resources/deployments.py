"""Deployments: make, list, wait until ready."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from argosy.comparing import Difference
from argosy.models import Deployed, Deployment, Page, Preview, RolledBack
from argosy.resources.names import is_id
from argosy.resources.paging import every, poll
from argosy.transport import Sent, Transport

PENDING = frozenset({"pending", "building"})


class Deployments:
    """`client.deployments`. A deployment is named by its slug in the workspace, or by its id."""

    def __init__(self, transport: Transport, workspace: str) -> None:
        self._transport = transport
        self._workspace = workspace

    def create(
        self,
        name: str,
        *,
        source: Mapping[str, Any] | None = None,
        image: str | None = None,
        environment: Mapping[str, str] | None = None,
        system_prompt: str | None = None,
        limits: Mapping[str, float] | None = None,
        max_attempts: int | None = None,
        llm_configs: Sequence[Mapping[str, Any]] | None = None,
        required_tools: Sequence[str] | None = None,
        policies: Sequence[str] | None = None,
        tool_url_mappings: Mapping[str, str] | None = None,
        on_sent: Sent | None = None,
    ) -> Deployed:
        """Deploy under `name`, new or in place; returns before anything is built.

        Without `source` and `image` it is an agent without code: `system_prompt`, `llm_configs`
        and `required_tools` are all there is to it.

        source: `files` (text by path, or `{"digest": …}` of a text that a version of the agent
        has), `entry_point`, `requirements`, `framework`, `python`.
        llm_configs: `model`, and perhaps `provider`, `model_provider`, `role`,
        `monthly_budget_usd`; the first for `chat` answers.
        required_tools, policies: names of tools that it may call, and of what allows it.
        limits: `memory_mb`, `cpu`, `pids`, `disk_mb`, `seconds`, `output_kb`.
        on_sent: told how many bytes were sent, and of how many.
        """
        body = {
            "name": name,
            "source": source,
            "image": image,
            "environment": environment,
            "system_prompt": system_prompt,
            "limits": limits,
            "max_attempts": max_attempts,
            "llm_configs": llm_configs,
            "required_tools": required_tools,
            "policies": policies,
            "tool_url_mappings": tool_url_mappings,
        }
        return self._transport.post(self._path(), Deployed, body, on_sent=on_sent)

    def preview(self, name: str, **wanted: Any) -> Preview:
        """Return what `create` would do with the same arguments; nothing is changed or stored.

        Raises what `create` would raise.
        """
        path = f"/v1/workspaces/{quote(self._workspace)}/deploy/preview"
        return self._transport.post(path, Preview, {"name": name, **wanted})

    def list(self, *, limit: int = 50, cursor: str = "") -> Page[Deployment]:
        """Return one page, newest first."""
        query = {"limit": limit, "cursor": cursor}
        return self._transport.get(self._path(), Page[Deployment], query=query)

    def all(self) -> Iterator[Deployment]:
        """Yield all of them, newest first, page by page."""
        return every(lambda cursor: self.list(limit=200, cursor=cursor))

    def get(self, deployment: str) -> Deployment:
        """Return one with all its revisions."""
        return self._transport.get(self._path(deployment), Deployment)

    def wait(self, deployment: str, revision: int, *, timeout: float = 600.0) -> Deployment:
        """Return it when `revision` is ready or has failed. Raises StillGoing after `timeout` s."""
        return poll(
            lambda: self.get(deployment),
            lambda found: _status(found, revision) not in PENDING,
            timeout,
            f"Revision {revision} of {deployment}",
        )

    def rollback(self, deployment: str, *, to: int | None = None) -> RolledBack:
        """Serve revision `to` again, or the one deployed before the one that serves.

        It is a new revision, of the same bytes: nothing is built, and runs in flight keep theirs.
        Raises Conflict where there is none to go back to, or it serves already.
        """
        return self._transport.post(f"{self._named(deployment)}/rollback", RolledBack, {"to": to})

    def diff(self, deployment: str, before: int, after: int) -> Difference:
        """Return what changed between two revisions: files, requirements, configuration."""
        query = {"before": before, "after": after}
        return self._transport.get(f"{self._named(deployment)}/diff", Difference, query=query)

    def _named(self, deployment: str) -> str:
        """Return the path below which a deployment's revisions are, also where an id is given."""
        if not is_id(deployment):
            return self._path(deployment)
        found = self.get(deployment)
        return f"/v1/workspaces/{found.workspace_id}/deployments/{found.slug}"

    def _path(self, deployment: str = "") -> str:
        if is_id(deployment):
            return f"/v1/deployments/{deployment}"
        root = f"/v1/workspaces/{quote(self._workspace)}/deployments"
        return f"{root}/{quote(deployment, safe='')}" if deployment else root


def _status(deployment: Deployment, number: int) -> str:
    revision = deployment.revision(number)
    return revision.status if revision else deployment.status
