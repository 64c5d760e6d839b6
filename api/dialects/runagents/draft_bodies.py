"""What RunAgents' clients send and read of a deploy draft, and what of it is a deploy's.

A field that is left out, or null, says nothing; what is empty is to be empty.
"""

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import asdict, replace

from api.bodies import decode
from api.dialects.runagents.bodies import (
    DeployBody,
    LlmConfig,
    ModelRole,
    check_count,
    without_nulls,
)
from api.documents import recast
from api.following import MAX_NUMBER
from api.sources import check_text
from domain.addresses import check_address
from domain.catalog import ModelVendor
from domain.deployments import ModelConfig
from domain.drafts import DraftContent
from domain.errors import Malformed
from domain.image_references import read_reference
from domain.sources import check_name

ROLES: tuple[str, ...] = get_args(ModelRole.__value__)

type Word = Annotated[str, Meta(max_length=200)]
# What code calls a tool: a URL, at the longest.
type Called = Annotated[str, Meta(max_length=2000)]
type Version = Annotated[int, Meta(ge=1, le=MAX_NUMBER)]


class ModelMapping(Struct, frozen=True, kw_only=True):
    """One of `model_mappings`, by its role."""

    provider: ModelVendor
    model: Word


class AgentConfig(Struct, frozen=True, kw_only=True):
    """`agent_config`. With `use_custom_image` the image is deployed, and no artifact."""

    agent_name: str | None = None
    system_prompt: str | None = None
    use_custom_image: bool | None = None
    custom_image: str | None = None
    access_mode: Word | None = None
    identity_provider: Word | None = None


class DraftBody(Struct, frozen=True, kw_only=True):
    """POST /api/deploy-drafts."""

    artifact_id: Word | None = None
    source_type: Annotated[Word, Meta(examples=["code"])] | None = None
    step: Annotated[Word, Meta(examples=["deploy"])] | None = None
    policies: list[Word] | None = None
    required_tool_names: list[str] | None = None
    tool_mappings: dict[Called, str] | None = None
    model_mappings: dict[Word, ModelMapping] | None = None
    agent_config: AgentConfig | None = None
    status: Literal["IN_PROGRESS", "COMPLETED", "ABANDONED"] | None = None


class DraftChange(DraftBody, frozen=True, kw_only=True):
    """PATCH /api/deploy-drafts/{id}. expected_version: refused if it is at another one."""

    expected_version: Version | None = None


class DraftEnd(Struct, frozen=True, kw_only=True):
    """POST /api/deploy-drafts/{id}/complete and …/abandon."""

    expected_version: Version | None = None


# Any: one for each kind.
_decoders: dict[type[Struct], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (DraftBody, DraftChange, DraftEnd)
}


def draft_body[B: Struct](body: bytes, kind: type[B]) -> B:
    """Return the body, an empty one as `{}`. Raises Malformed."""
    return decode(_decoders[kind], without_nulls(body))


def content_of(body: DraftBody) -> DraftContent:
    """Return what a body says of the draft. Raises Malformed and Invalid naming the field.

    Only the form is checked: what it names may come to be before it is deployed.
    """
    config = body.agent_config or AgentConfig()
    if body.status not in (None, "IN_PROGRESS"):
        verb = "complete" if body.status == "COMPLETED" else "abandon"
        raise Malformed(f"status is not set by itself: POST …/{verb} instead", field="status")
    _check_names(body, config)
    return DraftContent(
        agent_name=config.agent_name,
        snapshot_id=body.artifact_id,
        uses_image=config.use_custom_image,
        image=config.custom_image,
        system_prompt=config.system_prompt,
        required_tools=body.required_tool_names,
        tool_mappings=body.tool_mappings,
        llm_configs=_models_of(body),
        policies=body.policies,
        identity_provider=config.identity_provider,
        source_type=body.source_type,
        step=body.step,
        access_mode=config.access_mode,
    )


def _check_names(body: DraftBody, config: AgentConfig) -> None:
    for field in ("policies", "required_tool_names", "tool_mappings"):
        check_count(getattr(body, field) or (), field)
    for number, tool in enumerate(body.required_tool_names or ()):
        check_name(tool, field=f"required_tool_names[{number}]")
    for called, tool in (body.tool_mappings or {}).items():
        field = f"tool_mappings.{called[:200]}"
        check_name(tool, field=field)
        if _is_url(called):
            check_address(called, field=field)
    if config.agent_name:
        check_name(config.agent_name, field="agent_config.agent_name")
    if config.custom_image:
        read_reference(config.custom_image, field="agent_config.custom_image")
    check_text(config.system_prompt or "", "agent_config.system_prompt")


def _models_of(body: DraftBody) -> list[ModelConfig] | None:
    if body.model_mappings is None:
        return None
    for role, each in body.model_mappings.items():
        field = f"model_mappings.{role}"
        if role not in ROLES:
            raise Malformed(f"{field}: a role is one of {', '.join(ROLES)}", field=field)
        if not each.model.strip():
            raise Malformed(f"{field}.model is required", field=f"{field}.model")
    return [
        ModelConfig(provider=each.provider, model=each.model.strip(), role=role)
        for role, each in body.model_mappings.items()
    ]


def _is_url(called: str) -> bool:
    return called.startswith(("http://", "https://"))


# Any: JSON of the dialect's.
def fields_of(content: DraftContent) -> dict[str, Any]:
    """Return what a draft says, as its bodies do; what it does not say is left out."""
    config = AgentConfig(
        agent_name=content.agent_name,
        system_prompt=content.system_prompt,
        use_custom_image=content.uses_image,
        custom_image=content.image,
        access_mode=content.access_mode,
        identity_provider=content.identity_provider,
    )
    models = content.llm_configs
    fields = {
        "artifact_id": content.snapshot_id,
        "source_type": content.source_type,
        "step": content.step,
        "policies": content.policies,
        "required_tool_names": content.required_tools,
        "tool_mappings": content.tool_mappings,
        "model_mappings": None
        if models is None
        else {each.role: {"provider": each.provider, "model": each.model} for each in models},
        "agent_config": _said(asdict(config)) or None,
    }
    return _said(fields)


def _said(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def filled_in(body: DeployBody, content: DraftContent) -> DeployBody:
    """Return a deploy with what it leaves out taken from its draft. Raises Malformed."""
    mapped = content.tool_mappings
    tools, urls = content.required_tools, None
    if mapped is not None:
        tools = list(dict.fromkeys([*(tools or ()), *mapped.values()]))
        urls = {called: tool for called, tool in mapped.items() if _is_url(called)}
    drafted: dict[str, Any] = {
        "agent_name": content.agent_name,
        "system_prompt": content.system_prompt,
        "identity_provider": content.identity_provider,
        "policies": content.policies,
        "required_tools": tools,
        "tool_url_mappings": urls,
        "llm_configs": None
        if content.llm_configs is None
        else [recast(each, LlmConfig) for each in content.llm_configs],
    }
    said = {name: value for name, value in drafted.items() if getattr(body, name) is None}
    if not body.image and not body.source_files and not body.artifact_id:
        said |= _source_of(content)
    return replace(body, **said)


def _source_of(content: DraftContent) -> dict[str, str]:
    if content.uses_image and content.image:
        return {"image": content.image}
    if content.snapshot_id and not content.uses_image:
        return {"artifact_id": content.snapshot_id}
    needs = (
        "agent_config.custom_image, or no use_custom_image"
        if content.uses_image
        else "an artifact_id, or agent_config.custom_image with use_custom_image"
    )
    raise Malformed(
        f"draft_id: the draft has no source yet; give it {needs}, or send a source with the deploy",
        field="draft_id",
    )
