"""Deployments: deploy, list, show."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from api.calls import Call, Outcome, positioned
from api.credentials import credentials_of
from api.folding import Folded, fold, missing
from api.new_deployments import NewDeployment, definition_of, settings_of
from api.paging import Cursor, Limit, Listed, listed
from api.times import stamp
from domain import deployments
from domain.deploying import DEPLOYMENT_NAMES, Deploy, Deployed, deploy
from domain.deployments import DEPLOYMENT
from domain.execution import BuildProfile, Mode
from domain.handling import Unit
from domain.ids import new_id
from domain.ports import Blobs
from domain.sources import check_name
from projections.deployments import DeploymentRow, list_deployments


class Revision(Struct, frozen=True, kw_only=True):
    """One change of a deployment. status: `pending`, `ready` or `failed` (`detail` says why).

    rolled_back_to: the revision whose version and settings it repeats; null for a deploy.
    """

    revision: int
    agent_version: int
    status: str
    build_id: str | None
    detail: str
    rolled_back_to: int | None
    settings: dict[str, Any]


class Deployment(Struct, frozen=True, kw_only=True):
    """An endpoint. Lists show the newest revision only, without its settings.

    status: `ready` as soon as a revision serves, else `building` or `failed`; or `archived`.
    """

    id: str
    slug: str
    workspace_id: str
    agent_id: str
    agent_name: str
    status: str
    serving: int | None
    revisions: list[Revision]
    endpoint: str
    created_at: str
    updated_at: str


class DeployedAnswer(Struct, frozen=True, kw_only=True):
    """What a deploy led to. build_id: null when nothing has to be built.

    image_uri: the version as a container image, once it is built; null if there will be none.
    """

    deployment: Deployment
    agent_id: str
    version: int
    revision: int
    build_id: str | None
    execution_mode: Mode
    build_required: bool
    build_profile: BuildProfile
    decision_reason: str
    endpoint: str
    image_uri: str | None


class DeployMade(Struct, frozen=True):
    """The stored answer of a deploy. `events`: how many folding events its deployment had then."""

    deployed: Deployed
    events: int


class Deployments(Controller):
    """`/v1/workspaces/{workspace}/deployments`."""

    path = "/workspaces/{workspace:str}/deployments"
    tags = ["Deployments"]

    @post(operation_id="Deploy", status_code=201, opt={"needs": "write"})
    async def create(
        self, workspace: FromPath[str], data: JSONBody[NewDeployment], call: NamedDependency[Call]
    ) -> Response[DeployedAnswer]:
        """Deploy an agent. The same name updates in place; what is unchanged is not made again."""
        place = await call.open_workspace(workspace)
        deploys = await deploy_of(data, call, place.id, call.services.blobs)

        async def wanted(_: Unit) -> Deploy:
            return deploys

        made = await deploy_once(call, place.id, deploys.name, wanted)
        return positioned(await _answer(call, made.facts, place.slug), made.position, 201)

    @get(operation_id="ListDeployments", opt={"needs": "read"})
    async def index(
        self,
        workspace: FromPath[str],
        call: NamedDependency[Call],
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Listed[Deployment]:
        """List a workspace's deployments."""
        place = await call.workspace(workspace)
        reads = call.shared.reads

        async def query() -> Any:
            return await list_deployments(reads, place.id, cursor=cursor, limit=limit)

        return await listed(call, "deployments", query, lambda row: _row(row, call, place.slug))

    @get("/{slug:str}", operation_id="ShowDeployment", opt={"needs": "read"})
    async def show(
        self, workspace: FromPath[str], slug: FromPath[str], call: NamedDependency[Call]
    ) -> Deployment:
        """Show a deployment by its slug."""
        place = await call.workspace(workspace)
        id = await call.named(place, DEPLOYMENT_NAMES, slug)
        return shown(await fold(call.store, DEPLOYMENT, id), call, place.slug)


@get(
    "/deployments/{deployment_id:str}",
    operation_id="ShowDeploymentById",
    opt={"needs": "read"},
    tags=["Deployments"],
)
async def show_deployment(deployment_id: FromPath[str], call: NamedDependency[Call]) -> Deployment:
    """Show a deployment by its id, also one that was deleted."""
    found = await fold(call.store, DEPLOYMENT, deployment_id)
    active = last_active(found.state)
    if active is None or not await call.sees(active.workspace_id):
        raise missing("deployment", deployment_id)
    return shown(found, call, await call.shared.tenancy.slug_of(active.workspace_id))


async def deploy_of(
    data: NewDeployment, call: Call, workspace_id: str, blobs: Blobs | None
) -> Deploy:
    """Return what a body asks for. `blobs`: where files are stored, None for a preview.

    Raises Invalid naming the field.
    """
    name = check_name(data.name, field="name")
    settings = settings_of(data)
    return Deploy(
        workspace_id=workspace_id,
        name=name,
        definition=await definition_of(data, call, workspace_id, blobs),
        settings=settings,
        binds=settings.policies,
        maps=settings.tool_url_mappings,
    )


async def deploy_once(
    call: Call, workspace_id: str, name: str, wanted: Callable[[Unit], Awaitable[Deploy]]
) -> Outcome[DeployMade]:
    """Deploy, once per idempotency key.

    wanted: says what to deploy, perhaps from what there is: it may be asked more than once.
    """

    async def work(unit: Unit) -> DeployMade:
        made = await deploy(unit, await wanted(unit), call.shared.base, new_id)
        return DeployMade(made, await unit.length(DEPLOYMENT.category, made.deployment_id))

    key = f"deploy {workspace_id} {name}"
    made = await call.once(work, DeployMade, workspace_id=workspace_id, key=key)
    for reference in made.facts.deployed.credentials_dropped:
        await credentials_of(call, workspace_id).release(reference)
    return made


async def _answer(call: Call, made: DeployMade, workspace: str) -> DeployedAnswer:
    deployed = made.deployed
    found = await fold(call.store, DEPLOYMENT, deployed.deployment_id, events=made.events)
    deployment = shown(found, call, workspace)
    return DeployedAnswer(
        deployment=deployment,
        agent_id=deployed.agent_id,
        version=deployed.version,
        revision=deployed.revision,
        build_id=deployed.build_id or None,
        execution_mode=deployed.decision.mode,
        build_required=deployed.decision.build_required,
        build_profile=deployed.decision.build_profile,
        decision_reason=deployed.decision.reason,
        endpoint=deployment.endpoint,
        image_uri=call.image_uri(workspace, deployment.agent_name, deployed.image) or None,
    )


def last_active(state: deployments.Deployment) -> deployments.Active | None:
    """Return a deployment as it is, or as it last was."""
    match state:
        case deployments.Absent():
            return None
        case deployments.Active():
            return state
        case deployments.Archived(last=last):
            return last


def status_of(state: deployments.Deployment) -> str:
    """Return the one word for where a deployment stands."""
    match state:
        case deployments.Active() if state.serving:
            return "ready"
        case deployments.Active(revisions=revisions) if revisions:
            return "failed" if revisions[state.latest].status == "failed" else "building"
        case deployments.Archived():
            return "archived"
        case _:
            return "building"


def shown(found: Folded[deployments.Deployment], call: Call, workspace: str) -> Deployment:
    """Return a deployment as clients see it. Raises NotFound."""
    active = last_active(found.state)
    if active is None:
        raise missing("deployment", found.id)
    return Deployment(
        id=found.id,
        slug=active.slug,
        workspace_id=active.workspace_id,
        agent_id=active.agent_id,
        agent_name=active.agent_name,
        status=status_of(found.state),
        serving=active.serving or None,
        revisions=[
            Revision(
                revision=number,
                agent_version=each.agent_version,
                status=each.status,
                build_id=each.build_id or None,
                detail=each.detail,
                rolled_back_to=each.rolled_back_to or None,
                settings=msgspec.to_builtins(each.settings),
            )
            for number, each in active.revisions.items()
        ],
        endpoint=endpoint(call, workspace, active.slug),
        created_at=found.created_at,
        updated_at=found.updated_at,
    )


def endpoint(call: Call, workspace: str, slug: str) -> str:
    """Return where runs of a deployment are requested."""
    return f"{call.services.settings.url}/v1/workspaces/{workspace}/deployments/{slug}/runs"


def _row(row: DeploymentRow, call: Call, workspace: str) -> Deployment:
    latest = row.latest
    newest = latest and Revision(
        revision=latest.revision,
        agent_version=latest.agent_version,
        status=latest.status,
        build_id=latest.build_id or None,
        detail=latest.detail,
        rolled_back_to=latest.rolled_back_to,
        settings={},
    )
    return Deployment(
        id=row.id,
        slug=row.slug,
        workspace_id=row.workspace_id,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        status=row.status,
        serving=row.serving,
        revisions=[newest] if newest else [],
        endpoint=endpoint(call, workspace, row.slug),
        created_at=stamp(row.created_at),
        updated_at=stamp(row.updated_at),
    )
