"""What a RunAgents deploy sends. Unknown fields are ignored, as the original ignores them."""

from collections.abc import Sized
from math import inf
from typing import Any, Literal

import msgspec
from msgspec import Struct

from api.bodies import decode
from domain.catalog import AuthenticationType, ModelVendor, Scheme, Tool
from domain.deployments import ModelConfig
from domain.errors import Malformed
from domain.sources import check_name

MAX_NAMES = 200  # tools, policies or models of one deploy


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
    role: Literal["chat", "default", "embedding", "classify", "reranking"] | None = None
    model_provider: str | None = None
    monthly_budget_usd: float | None = None


class DeployBody(Struct, frozen=True, kw_only=True):
    """POST /api/deploy. A field that is left out, or null, keeps what the last deploy said."""

    agent_name: str | None = None
    namespace: str | None = None
    image: str | None = None
    source_files: dict[str, str] | None = None
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


def tool_documents(tools: list[NewTool]) -> dict[str, Tool]:
    """Return the tools by name. Raises Malformed, and Invalid for a name or URL that cannot be."""
    documents: dict[str, Tool] = {}
    for index, tool in enumerate(tools):
        name, base_url = (tool.name or "").strip(), (tool.base_url or "").strip()
        if not name or not base_url:
            raise Malformed("tool name and base_url are required")
        place = f"tools_to_create[{index}]"
        check_name(name, field=f"{place}.name")
        if not base_url.startswith(("http://", "https://")):
            raise Malformed(f"{place}.base_url must begin with http:// or https://")
        port = 443 if tool.port is None else tool.port
        if not 0 < port < 65536:
            raise Malformed(f"{place}.port must be 1 to 65535")
        documents[name] = Tool(
            base_url=base_url,
            description=tool.description or "",
            auth_type=tool.auth_type or "None",
            port=port,
            scheme=tool.scheme or "HTTPS",
        )
    return documents


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


def check_count(items: Sized, field: str) -> None:
    """Raise Malformed where a deploy names too many of anything."""
    if len(items) > MAX_NAMES:
        raise Malformed(f"{field} has at most {MAX_NAMES} items", field=field)
