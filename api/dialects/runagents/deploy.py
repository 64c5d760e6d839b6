"""POST /api/deploy."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response, post
from litestar.di import NamedDependency
from msgspec import Struct
from msgspec.structs import replace

from api.calls import POSITION_HEADER, Call, Outcome
from api.deployments import DeployMade, deploy_once
from api.dialects.runagents.artifacts import files_of
from api.dialects.runagents.bodies import (
    DeployBody,
    check_count,
    deploy_body,
    models_of,
    tools_of,
)
from api.dialects.runagents.drafts import drafted
from api.dialects.runagents.namespaces import open_place_of
from api.sources import Source, check_environment, check_text, stored
from api.tenancy import Place
from domain.deploying import DEPLOYMENT_NAMES, Deploy, Deployed
from domain.deployments import DEPLOYMENT, Active, Settings
from domain.errors import ArgosyError, Malformed, NameTaken, VersionConflict
from domain.execution import BuildProfile, Definition, ImageDefinition, Mode
from domain.handling import Unit
from domain.ids import split_stream
from domain.image_references import read_reference
from domain.ports import Blobs
from domain.sources import check_name


class DeployAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The documented fields, and the aliases that the older clients read. `build_id`, `image_uri`:
    on the build path only; `image_uri` where the build makes an image.
    """

    agent: str
    namespace: str
    tools_created: list[str]
    execution_mode: Mode
    build_required: bool
    build_profile: BuildProfile
    decision_reason: str
    agent_name: str
    status: str
    message: str
    build_id: str = ""
    image_uri: str = ""


class CreationFailed(ArgosyError):
    """Others changed the same tool, agent or build whenever this deploy tried to; nothing was made.

    Send it again.
    """

    type = "creation-failed"
    status = 500
    title = "The deploy made nothing"


@post("/deploy", status_code=201, opt={"needs": "write"})
async def deploy_agent(
    request: Request[Any, Any, Any], call: NamedDependency[Call]
) -> Response[DeployAnswer]:
    """Deploy; the same name updates in place. 201 either way, before anything is built."""
    body = deploy_body(await request.body())
    place = await open_place_of(call, request)
    name, wanted = await asked_for(body, place, call, call.services.blobs)
    made = await _made(call, place, name, wanted)
    answer = _answer(call, made.facts.deployed, name, place.slug)
    return Response(answer, status_code=201, headers={POSITION_HEADER: str(made.position)})


async def asked_for(
    body: DeployBody, place: Place, call: Call, blobs: Blobs | None
) -> tuple[str, Callable[[Unit], Awaitable[Deploy]]]:
    """Return the agent's name, and what says in a unit what is to be deployed.

    blobs: where files are stored, None for a preview. Raises Malformed and Invalid.
    """
    draft = await drafted(call, place, body) if body.draft_id else None
    if draft:
        body = draft.body
    name = _checked(body, place)
    tools = tools_of(body.tools_to_create or [])
    given = _settings(body)
    definition = await _definition(body, place, call, blobs)

    async def wanted(unit: Unit) -> Deploy:
        return Deploy(
            workspace_id=place.id,
            name=name,
            definition=definition,
            settings=replace(await _last_settings(unit, place, name), **given),
            tools=tools,
            binds=body.policies or (),
            maps=body.tool_url_mappings or {},
            completes=await draft.completes(unit, name) if draft else None,
        )

    return name, wanted


def _checked(body: DeployBody, place: Place) -> str:
    """Return the agent's name. Raises Malformed and Invalid for what can be seen at once."""
    name = (body.agent_name or "").strip()
    if not name:
        raise Malformed("agent_name is required", field="agent_name")
    if body.namespace and body.namespace not in (place.slug, place.id):
        raise Malformed(
            f"namespace {body.namespace[:100]!r} does not match the workspace {place.slug!r}",
            field="namespace",
        )
    if not body.image and not body.source_files and not body.artifact_id:
        raise Malformed(
            "no valid deploy source: image, source_files or artifact_id is required",
            field="source_files",
        )
    return check_name(name, field="agent_name")


async def _definition(
    body: DeployBody, place: Place, call: Call, blobs: Blobs | None
) -> Definition:
    if body.image:  # wins if there is source, too
        image = body.image.strip()
        read_reference(image)
        return ImageDefinition(image=image)
    files = body.source_files
    if not files and body.artifact_id:
        files = await files_of(call, place, body.artifact_id)
    source = Source(
        files=files or {},
        entry_point=body.entry_point or "",
        requirements=body.requirements,
        framework=body.framework or "",
        configured=bool(body.system_prompt or body.llm_configs),
        files_field="source_files",
        entry_point_field="entry_point",
        requirements_field="requirements",
    )
    return await stored(source, call.shared, blobs)


# Any: the values are those of Settings' fields, each checked or typed by the body.
def _settings(body: DeployBody) -> dict[str, Any]:
    """Return the settings that the body names; what it leaves out stays as it was."""
    for field in ("required_tools", "policies", "tool_url_mappings"):
        check_count(getattr(body, field) or (), field)
    for number, tool in enumerate(body.required_tools or ()):
        check_name(tool, field=f"required_tools[{number}]")
    given: dict[str, Any] = {
        "required_tools": body.required_tools,
        "tool_url_mappings": body.tool_url_mappings,
        "llm_configs": models_of(body.llm_configs) if body.llm_configs is not None else None,
        "policies": body.policies,
        "identity_provider": body.identity_provider,
    }
    if body.system_prompt is not None:
        given["system_prompt"] = check_text(body.system_prompt, "system_prompt")
    if body.env is not None:
        variables = {each.name: each.value for each in body.env}
        given["environment"] = check_environment(variables, field="env")
    return {name: value for name, value in given.items() if value is not None}


async def _last_settings(unit: Unit, place: Place, name: str) -> Settings:
    id = await unit.resolve(place.id, DEPLOYMENT_NAMES, name)
    deployment = await unit.state(DEPLOYMENT, id) if id else None
    if not isinstance(deployment, Active) or not deployment.latest:
        return Settings()
    return deployment.revisions[deployment.latest].settings


async def _made(
    call: Call, place: Place, name: str, wanted: Callable[[Unit], Awaitable[Deploy]]
) -> Outcome[DeployMade]:
    """Deploy. Raises CreationFailed, in the original's words, where others were always first."""
    try:
        return await deploy_once(call, place.id, name, wanted)
    except (NameTaken, VersionConflict) as refusal:
        kind = refusal.members.get("kind")
        kind = kind or split_stream(str(refusal.members.get("stream", "agent-")))[0]
        which = refusal.members.get("name", name)
        raise CreationFailed(f"failed to create {kind} {which}: {refusal.detail}") from None


def _answer(call: Call, made: Deployed, name: str, namespace: str) -> DeployAnswer:
    decision = made.decision
    image_uri = call.image_uri(namespace, name, made.image)
    status = "created" if made.agent_created else "updated"
    return DeployAnswer(
        agent=name,
        namespace=namespace,
        tools_created=made.tools_created,
        execution_mode=decision.mode,
        build_required=decision.build_required,
        build_profile=decision.build_profile,
        decision_reason=decision.reason,
        agent_name=name,
        status=status,
        message=f"Agent {name} {status}.",
        build_id=made.build_id if decision.build_required else "",
        image_uri=image_uri if decision.build_required else "",
    )
