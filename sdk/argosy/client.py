"""The client: `Argosy()` finds the running dev server, or takes ARGOSY_URL and ARGOSY_API_KEY."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from argosy.config import DEFAULT_WORKSPACE, find_server
from argosy.errors import Invalid, Malformed, NotFound, UnreadableSource
from argosy.following import Lost
from argosy.models import (
    Deployed,
    Deployment,
    LiveEvent,
    ModelProvider,
    Page,
    Policy,
    Preview,
    Registry,
    Replay,
    Run,
    StarterKit,
    Tool,
    Who,
)
from argosy.resources.agents import Agents
from argosy.resources.builds import Builds
from argosy.resources.deployments import Deployments
from argosy.resources.documents import Documents
from argosy.resources.keys import Keys
from argosy.resources.log import Log
from argosy.resources.runs import Runs
from argosy.resources.workspaces import Workspaces
from argosy.sources import read_source
from argosy.transport import Sent, Transport

ASK_BYTES = 1 << 16  # of a source: to send less is quicker than to ask what the server has


class Argosy:
    """A server, seen from one workspace. Close it, or use it as a context manager.

    Every call raises an ArgosyError (see errors.py). Calls are retried for up to `retry_seconds`
    when the server does not answer or is busy, and are done once all the same. Not for use by
    several threads at a time while it is being closed; otherwise safe to share.
    """

    def __init__(
        self,
        url: str = "",
        api_key: str = "",
        *,
        workspace: str = "",
        retry_seconds: float = 30.0,
    ) -> None:
        if not url or not api_key:
            found = find_server()
            url, api_key = url or found.url, api_key or found.api_key
            workspace = workspace or found.workspace
        self.workspace = workspace or DEFAULT_WORKSPACE
        self.url = url.rstrip("/")
        self._transport = Transport(url, api_key, retry_seconds=retry_seconds)
        self.agents = Agents(self._transport, self.workspace)
        self.deployments = Deployments(self._transport, self.workspace)
        self.builds = Builds(self._transport, self.workspace)
        self.runs = Runs(self._transport, self.workspace)
        here = self._transport, self.workspace
        self.tools = Documents(*here, "tools", Tool, Page[Tool])
        self.policies = Documents(*here, "policies", Policy, Page[Policy])
        self.model_providers = Documents(
            *here, "model-providers", ModelProvider, Page[ModelProvider]
        )
        self.registries = Documents(*here, "registries", Registry, Page[Registry])
        self.workspaces = Workspaces(self._transport)
        self.keys = Keys(self._transport)
        self.events = Log(self._transport)

    def __repr__(self) -> str:
        return f"Argosy({self.url!r}, workspace={self.workspace!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._transport.close()

    def whoami(self) -> Who:
        """Return what the server knows of the key."""
        return self._transport.get("/v1/whoami", Who)

    def seed_starter_kit(self) -> StarterKit:
        """Make a tool, a model provider and a policy to begin with, as far as they are missing."""
        path = f"/v1/workspaces/{quote(self.workspace)}/starter-kit"
        return self._transport.post(path, StarterKit, {})

    def deploy(
        self,
        source: str | Path | Mapping[str, str] | None = None,
        *,
        name: str = "",
        requirements: str | None = None,
        entry_point: str | None = None,
        framework: str | None = None,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        system_prompt: str | None = None,
        limits: Mapping[str, float] | None = None,
        max_attempts: int | None = None,
        on_sent: Sent | None = None,
        **more: Any,
    ) -> Deployed:
        """Deploy a folder, a file, or files (text by path); returns before anything is built.

        Of a large source only that is sent which no version of the agent has.

        `name` defaults to the folder's, `requirements` to its requirements.txt. Wait with
        `wait_until_ready`. `more`: image, llm_configs, required_tools, policies and
        tool_url_mappings, as `deployments.create` takes them; without a source and an image they
        make an agent without code.
        Raises UnreadableSource for what cannot be sent.
        """
        name, files, told = _read(
            source,
            name=name,
            requirements=requirements,
            entry_point=entry_point,
            framework=framework,
            python=python,
        )

        def create(files: Mapping[str, Any] | None) -> Deployed:
            return self.deployments.create(
                name,
                source=None if files is None else {"files": files, **told},
                environment=environment,
                system_prompt=system_prompt,
                limits=limits,
                max_attempts=max_attempts,
                on_sent=on_sent,
                **more,
            )

        shortened = self._shortened(name, files) if files else files
        try:
            return create(shortened)
        except (Invalid, Malformed) as refusal:  # the latter of a server that knows no digests
            if shortened == files or not refusal.field.startswith("source.files"):
                raise
            return create(files)  # it has lost a text meanwhile

    def _shortened(self, name: str, files: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the files with only a digest for texts that a version of the agent has."""
        encoded = {path: text.encode() for path, text in files.items()}
        if sum(map(len, encoded.values())) < ASK_BYTES:
            return files
        try:
            versions = self.agents.get(name).versions
        except NotFound:
            return files
        known = {
            digest for each in versions for digest in each.definition.get("files", {}).values()
        }
        digests = {
            path: f"sha256:{hashlib.sha256(data).hexdigest()}" for path, data in encoded.items()
        }
        return {
            path: {"digest": digests[path]} if digests[path] in known else text
            for path, text in files.items()
        }

    def preview(
        self,
        source: str | Path | Mapping[str, str] | None = None,
        *,
        name: str = "",
        requirements: str | None = None,
        **more: Any,
    ) -> Preview:
        """Return how `deploy` with the same arguments would run it, and why; changes nothing."""
        about = {field: more.pop(field, None) for field in ("entry_point", "framework", "python")}
        name, files, told = _read(source, name=name, requirements=requirements, **about)
        sent = None if files is None else {"files": files, **told}
        return self.deployments.preview(name, source=sent, **more)

    def wait_until_ready(self, deployed: Deployed, *, timeout: float = 600.0) -> Deployment:
        """Return the deployment when the revision is ready or has failed (its status says which).

        Raises StillGoing after `timeout` seconds.
        """
        return self.deployments.wait(deployed.deployment.id, deployed.revision, timeout=timeout)

    def invoke(
        self,
        slug: str,
        message: str,
        *,
        wait: bool = True,
        timeout: float | None = None,
        **more: Any,
    ) -> Run:
        """Start a run and return it when it has ended, or at once with `wait=False`.

        How it ended is data: look at `status` and `reason`. `more`: history, context, user_id,
        conversation_id. Raises StillGoing after `timeout` seconds.
        """
        run = self.runs.start(slug, message, **more)
        return self.runs.wait(run.id, timeout=timeout) if wait else run

    def stream(
        self, slug: str, message: str, *, lost: Lost | None = None, **more: Any
    ) -> Iterator[LiveEvent]:
        """Start a run and yield what it does, to its end (`complete`)."""
        return self.runs.follow(self.runs.start(slug, message, **more).id, lost=lost)

    def replay(self, stream: str, *, at: int | None = None) -> Replay:
        """Return a stream (`run-<id>`) as it stood at version `at`, or now."""
        return self.events.replay(stream, at=at)


def _read(
    source: str | Path | Mapping[str, str] | None,
    *,
    name: str,
    requirements: str | None,
    **about: str | None,
) -> tuple[str, dict[str, str] | None, dict[str, str]]:
    """Return the name, the files, and what is said of them; read from disk if it is a path."""
    files: dict[str, str] | None = None
    if isinstance(source, Mapping):
        files = dict(source)
    elif source is not None:
        read = read_source(Path(source))
        files, name = read.files, name or read.name
        requirements = read.requirements if requirements is None else requirements
    if not name:
        raise UnreadableSource(str(source)[:100], "give the deployment a name.")
    fields = {"requirements": requirements or None, **about}
    return name, files, {field: value for field, value in fields.items() if value is not None}
