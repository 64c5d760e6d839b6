"""What a RunAgents deploy sends. Unknown fields are ignored, as the original ignores them."""

from typing import Any

import msgspec
from msgspec import Struct

from api.bodies import decode
from domain.catalog import AuthenticationType, Scheme, Tool
from domain.errors import Malformed
from domain.sources import check_name


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
    llm_configs: list[dict[str, Any]] | None = None
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
