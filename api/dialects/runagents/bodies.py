"""What a RunAgents deploy sends. Unknown fields are ignored, as the original ignores them."""

from collections.abc import Sized
from math import inf
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Struct

from api.bodies import decode
from domain.catalog import AuthenticationType, ModelVendor, Scheme
from domain.deployments import ModelConfig
from domain.errors import Malformed
from domain.sources import check_name
from domain.tools import BasicTool

MAX_NAMES = 200  # tools, policies or models of one deploy

type ModelRole = Literal["chat", "default", "embedding", "classify", "reranking"]


class NewTool(Struct, frozen=True, kw_only=True):
    """One of `tools_to_create`."""

    name: str | None = None
    base_url: str | None = None
    description: str | None = None
    auth_type: AuthenticationType | None = None
    port: int | None = None
    scheme: Scheme | None = None


class Variable(Struct, frozen=True, kw_only=True):
    """One of `env`."""

    name: str
    value: str = ""


class LlmConfig(Struct, frozen=True, kw_only=True):
    """One of `llm_configs`."""

    provider: ModelVendor
    model: str
    role: ModelRole | None = None
    model_provider: str | None = None
    monthly_budget_usd: float | None = None


class DeployBody(Struct, frozen=True, kw_only=True):
    """POST /api/deploy. A field that is left out, or null, keeps what the last deploy said."""

    agent_name: Annotated[str, Meta(examples=["echo"])] | None = None
    namespace: str | None = None
    image: str | None = None
    source_files: (
        Annotated[dict[str, str], Meta(examples=[{"agent.py": "print('hello')\n"}])] | None
    ) = None
    artifact_id: str | None = None
    draft_id: str | None = None
    system_prompt: str | None = None
    required_tools: list[str] | None = None
    tool_url_mappings: dict[str, str] | None = None
    tools_to_create: list[NewTool] | None = None
    llm_configs: list[LlmConfig] | None = None
    env: list[Variable] | None = None
    requirements: str | None = None
    entry_point: str | None = None
    framework: str | None = None
    identity_provider: str | None = None
    policies: list[str] | None = None


class InvokeBody(Struct, frozen=True, kw_only=True):
    """POST …/invoke."""

    message: str | None = None
    history: list[Any] = []
    user_id: str = ""
    conversation_id: str = ""


_deploy = msgspec.json.Decoder(DeployBody)
_invoke = msgspec.json.Decoder(InvokeBody)


def deploy_body(body: bytes) -> DeployBody:
    """Return the body, an empty one as `{}`. Raises Malformed."""
    return decode(_deploy, body or b"{}")


def invoke_body(body: bytes) -> InvokeBody:
    """Return the body, an empty one as `{}`. Raises Malformed."""
    return decode(_invoke, body or b"{}")


def tools_of(tools: list[NewTool]) -> dict[str, BasicTool]:
    """Return `tools_to_create` by name. Raises Malformed, and Invalid for a name that cannot be."""
    check_count(tools, "tools_to_create")
    found: dict[str, BasicTool] = {}
    for number, tool in enumerate(tools):
        name, base_url = (tool.name or "").strip(), (tool.base_url or "").strip()
        place = f"tools_to_create[{number}]"
        if not name or not base_url:
            raise Malformed("tool name and base_url are required")
        check_name(name, field=f"{place}.name")
        if name in found:
            raise Malformed(f"{place}.name: {name} is there twice", field=f"{place}.name")
        check_port(tool.port, f"{place}.port")
        found[name] = BasicTool(
            base_url=base_url,
            description=tool.description,
            auth_type=tool.auth_type,
            port=tool.port,
            scheme=tool.scheme,
        )
    return found


def models_of(configs: list[LlmConfig]) -> list[ModelConfig]:
    """Return `llm_configs` as they are stored. Raises Malformed naming the item's field."""
    check_count(configs, "llm_configs")
    for number, config in enumerate(configs):
        place = f"llm_configs[{number}]"
        if not config.model.strip():
            raise Malformed(f"{place}.model is required", field=f"{place}.model")
        if config.monthly_budget_usd is not None and not 0 <= config.monthly_budget_usd < inf:
            field = f"{place}.monthly_budget_usd"
            raise Malformed(f"{field} must not be negative", field=field)
    return [
        ModelConfig(
            provider=config.provider,
            model=config.model.strip(),
            role=config.role or "default",
            model_provider=config.model_provider or "",
            monthly_budget_usd=config.monthly_budget_usd,
        )
        for config in configs
    ]


def without_nulls(body: bytes) -> bytes:
    """Return a body without its null members: to the clients they are fields left out.

    What cannot be read comes back as it is. An empty body is `{}`.
    """
    if not body:
        return b"{}"
    try:
        return msgspec.json.encode(_without_nulls(msgspec.json.decode(body)))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return body


# Any: JSON of any shape.
def _without_nulls(value: Any) -> Any:
    match value:
        case dict():
            fields = cast("dict[str, Any]", value)
            return {name: _without_nulls(each) for name, each in fields.items() if each is not None}
        case list():
            return [_without_nulls(each) for each in cast("list[Any]", value)]
        case _:
            return value


def check_count(items: Sized, field: str) -> None:
    """Raise Malformed where a deploy names too many of anything."""
    if len(items) > MAX_NAMES:
        raise Malformed(f"{field} has at most {MAX_NAMES} items", field=field)


def check_port(port: int | None, field: str) -> None:
    """Raise Malformed for what is no port."""
    if port is not None and not 0 < port < 65536:
        raise Malformed(f"{field} must be 1 to 65535", field=field)
