"""Previews: what a deploy would do, decided by the same code, and nothing of it done."""

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from api.calls import Call
from api.deployments import deploy_of
from api.new_deployments import NewDeployment
from domain.deploying import Deploy, Deployed, deploy
from domain.execution import BuildProfile, Mode
from domain.handling import Unit
from domain.ids import new_id


class Foreseen(Struct, frozen=True):
    """What a deploy would lead to. unchanged: it would make nothing, as all of it is there."""

    deployed: Deployed
    unchanged: bool


class Preview(Struct, frozen=True, kw_only=True):
    """What a deploy would answer.

    version, revision: the numbers that it would have. unchanged: both are there already.
    """

    name: str
    version: int
    revision: int
    unchanged: bool
    execution_mode: Mode
    build_required: bool
    build_profile: BuildProfile
    decision_reason: str


@post(
    "/workspaces/{workspace:str}/deploy/preview",
    operation_id="PreviewDeploy",
    status_code=200,
    opt={"needs": "write"},
    tags=["Deployments"],
)
async def preview_deploy(
    workspace: FromPath[str], data: JSONBody[NewDeployment], call: NamedDependency[Call]
) -> Preview:
    """Say how a deploy would run, and why, and change nothing. Refuses what a deploy refuses."""
    place = await call.open_workspace(workspace)
    wanted = await deploy_of(data, call, place.id, None)
    foreseen = await foresee(call, Unit(call.store), wanted)
    deployed, decision = foreseen.deployed, foreseen.deployed.decision
    return Preview(
        name=wanted.name,
        version=deployed.version,
        revision=deployed.revision,
        unchanged=foreseen.unchanged,
        execution_mode=decision.mode,
        build_required=decision.build_required,
        build_profile=decision.build_profile,
        decision_reason=decision.reason,
    )


async def foresee(call: Call, unit: Unit, wanted: Deploy) -> Foreseen:
    """Decide a deploy in a unit that nobody appends."""
    deployed = await deploy(unit, wanted, call.shared.base, new_id)
    return Foreseen(deployed, not any(change.events for change in unit.changes))
