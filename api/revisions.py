"""Revisions of a deployment: going back to one, and what changed between two."""

from collections.abc import Iterable
from typing import Annotated

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta, Struct

from api.agents import last_active
from api.calls import Call, positioned
from api.deployments import Deployment, shown
from api.folding import fold
from domain import agents, deployments
from domain.agents import AGENT
from domain.comparing import (
    Change,
    Compared,
    Comparison,
    FieldChange,
    FileChange,
    RequirementChanges,
    compare,
)
from domain.deploying import DEPLOYMENT_NAMES, resolve_name
from domain.deployments import DEPLOYMENT, RollBack
from domain.errors import NotFound
from domain.handling import Unit
from domain.ports import Blobs

MAX_NUMBER = 1_000_000
# What of two revisions' files one answer holds as text, for its reader to compare line by line.
MAX_TEXT_BYTES = 64_000
MAX_TEXTS_BYTES = 1_000_000
MAX_TEXTS = 100

Number = Annotated[int, Meta(ge=1, le=MAX_NUMBER)]


class NewRollback(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """to: the revision to serve again; left out: the one deployed before the one that serves."""

    to: Number | None = None


class RolledBack(Struct, frozen=True, kw_only=True):
    """What a rollback led to: `revision`, which has the version and settings of another."""

    deployment: Deployment
    revision: int
    rolled_back_to: int
    version: int


class RollbackMade(Struct, frozen=True):
    """The stored answer of a rollback. `events`: as in DeployMade."""

    deployment_id: str
    revision: int
    events: int


class FileSide(Struct, frozen=True, kw_only=True):
    """A file as it is in one of the revisions. text: null for what is large, or one of too many."""

    digest: str
    text: str | None


class ChangedFile(Struct, frozen=True, kw_only=True):
    """A file that is not the same. before, after: null where there is none."""

    path: str
    change: Change
    before: FileSide | None
    after: FileSide | None


class Difference(Struct, frozen=True, kw_only=True):
    """What changed from one revision to another. `before` and `after` are their numbers."""

    before: int
    after: int
    files: list[ChangedFile]
    requirements: RequirementChanges
    configuration: list[FieldChange]


class Revisions(Controller):
    """`/v1/workspaces/{workspace}/deployments/{slug}`: its revisions."""

    path = "/workspaces/{workspace:str}/deployments/{slug:str}"
    tags = ["Deployments"]

    @post("/rollback", operation_id="RollBack", status_code=201, opt={"needs": "write"})
    async def roll_back(
        self,
        workspace: FromPath[str],
        slug: FromPath[str],
        call: NamedDependency[Call],
        data: JSONBody[NewRollback | None] = None,
    ) -> Response[RolledBack]:
        """Serve an earlier revision again, as a new one. Nothing is built; runs keep theirs."""
        place = await call.open_workspace(workspace)
        to = (data and data.to) or 0

        async def work(unit: Unit) -> RollbackMade:
            id = await resolve_name(unit, place.id, DEPLOYMENT_NAMES, slug)
            if id is None:
                raise NotFound(f"There is no deployment {slug[:100]!r}.")
            await unit.decide(DEPLOYMENT, id, RollBack(deployment_id=id, to=to))
            deployment = await unit.state(DEPLOYMENT, id)
            assert isinstance(deployment, deployments.Active)
            return RollbackMade(id, deployment.latest, await unit.length(DEPLOYMENT.category, id))

        key = f"deploy {place.id} {slug}"
        made = await call.once(work, RollbackMade, workspace_id=place.id, key=key)
        id, number = made.facts.deployment_id, made.facts.revision
        found = await fold(call.store, DEPLOYMENT, id, events=made.facts.events)
        deployment = shown(found, call, place.slug)
        revision = deployment.revisions[number - 1]
        assert revision.rolled_back_to
        answer = RolledBack(
            deployment=deployment,
            revision=number,
            rolled_back_to=revision.rolled_back_to,
            version=revision.agent_version,
        )
        return positioned(answer, made.position, 201)

    @get("/diff", operation_id="CompareRevisions", opt={"needs": "read"})
    async def compare(
        self,
        workspace: FromPath[str],
        slug: FromPath[str],
        call: NamedDependency[Call],
        before: Annotated[int, QueryParameter(ge=0, le=MAX_NUMBER)] = 0,
        after: Annotated[int, QueryParameter(ge=0, le=MAX_NUMBER)] = 0,
    ) -> Difference:
        """Compare two revisions: files, requirements, configuration. Texts where they are small.

        after: the newest if 0 or left out; before: the one before that.
        """
        place = await call.workspace(workspace)
        id = await call.named(place, DEPLOYMENT_NAMES, slug)
        deployment = (await fold(call.store, DEPLOYMENT, id)).state
        if not isinstance(deployment, deployments.Active):  # deleted since its name was looked up
            raise NotFound(f"There is no deployment {slug[:100]!r}.")
        agent = last_active((await fold(call.store, AGENT, deployment.agent_id)).state)
        assert agent is not None
        after = after or deployment.latest
        before = before or max(1, after - 1)
        compared = compare(*(_side(deployment, agent, number) for number in (before, after)))
        return await _answer(before, after, compared, call.services.blobs)


def _side(deployment: deployments.Active, agent: agents.Active, number: int) -> Compared:
    if number not in deployment.revisions:
        raise NotFound(f"Deployment {deployment.slug} has no revision {number}.")
    revision = deployment.revisions[number]
    version = agent.versions[revision.agent_version]
    return Compared(version.definition, revision.settings, version.artifact)


async def _answer(before: int, after: int, compared: Comparison, blobs: Blobs) -> Difference:
    digests = [each for file in compared.files for each in (file.before, file.after) if each]
    texts = await _texts(dict.fromkeys(digests), blobs)

    def side(digest: str | None) -> FileSide | None:
        return FileSide(digest=digest, text=texts.get(digest)) if digest else None

    def changed(file: FileChange) -> ChangedFile:
        sides = side(file.before), side(file.after)
        return ChangedFile(path=file.path, change=file.change, before=sides[0], after=sides[1])

    return Difference(
        before=before,
        after=after,
        files=[changed(file) for file in compared.files],
        requirements=compared.requirements,
        configuration=compared.configuration,
    )


async def _texts(digests: Iterable[str], blobs: Blobs) -> dict[str, str]:
    """Return the texts of the first files that are small, by digest."""
    texts: dict[str, str] = {}
    left = MAX_TEXTS_BYTES
    for digest, _ in zip(digests, range(MAX_TEXTS), strict=False):
        try:
            size = await blobs.size(digest)
            if size > min(left, MAX_TEXT_BYTES):
                continue
            texts[digest] = (await blobs.get(digest)).decode()
        except (NotFound, UnicodeDecodeError):
            continue
        left -= size
    return texts
