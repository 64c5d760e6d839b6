"""What is sent of a tool: both of the body's shapes (contract §7.1), as one."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from api.bodies import decode
from api.dialects.runagents.bodies import check_port, without_nulls
from domain.catalog import (
    AccessMode,
    ApiKeyPlace,
    AuthenticationType,
    Capability,
    OAuth2Client,
    Scheme,
    Tool,
    Topology,
)
from domain.errors import Malformed
from domain.tools import BasicTool, declared

AUTHENTICATION = "spec.connection.authentication"
SPEC_NAMES = {
    "base_url": "spec.connection.baseUrl",
    "port": "spec.connection.port",
    "description": "spec.description",
    "capabilities": "spec.capabilities",
    "api_key.name": f"{AUTHENTICATION}.apiKeyConfig.name",
    "api_key.value_prefix": f"{AUTHENTICATION}.apiKeyConfig.valuePrefix",
    "oauth2.token_url": f"{AUTHENTICATION}.oauth2Config.tokenUrl",
    "oauth2.authorization_url": f"{AUTHENTICATION}.oauth2Config.authUrl",
    "oauth2.parameters": f"{AUTHENTICATION}.oauth2Config.authParams",
}


class Secrets(Struct, frozen=True, kw_only=True):
    """`credentials`. Never shown again, nor printed."""

    client_id: str = ""
    client_secret: str = ""
    api_key: str = ""

    @property
    def secret(self) -> str | None:
        """The key or client secret that was sent; an empty one is none."""
        return self.api_key or self.client_secret or None

    def __repr__(self) -> str:
        return "Secrets()"


class ApiKeyConfig(Struct, frozen=True, kw_only=True, rename="camel"):
    """`secretRef` names a secret of the original's cluster; here there are none to be named."""

    location: Literal["Header", "Query"] | None = field(default=None, name="in")
    name: str | None = None
    value_prefix: str | None = None


class OAuth2Config(Struct, frozen=True, kw_only=True, rename="camel"):
    """See ApiKeyConfig for `credentialsSecretRef`."""

    token_url: str
    auth_url: str = ""
    scopes: list[str] = []
    auth_params: dict[str, str] = {}


class Authentication(Struct, frozen=True, kw_only=True, rename="camel"):
    """How a tool knows its callers."""

    type: AuthenticationType = "None"
    api_key_config: ApiKeyConfig | None = None
    oauth2_config: OAuth2Config | None = None


class Connection(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a tool is."""

    base_url: str | None = None
    topology: Topology = "External"
    port: int | None = None
    scheme: Scheme | None = None
    authentication: Authentication = Authentication()


class AccessControl(Struct, frozen=True, kw_only=True):
    """A label: what may be called is for policies to say."""

    mode: AccessMode = "Open"


class Governance(Struct, frozen=True, kw_only=True, rename="camel"):
    """The rest of it is not kept."""

    access_control: AccessControl = AccessControl()


class CapabilityBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """One of `capabilities`."""

    name: str
    method: str = ""
    path: str = "/"
    description: str = ""
    risk_tags: list[str] = []


class ToolSpec(Struct, frozen=True, kw_only=True, rename="camel"):
    """The documented shape."""

    description: str = ""
    connection: Connection = Connection()
    governance: Governance = Governance()
    capabilities: list[CapabilityBody] = []
    risk_tags: list[str] = []


class ToolBody(Struct, frozen=True, kw_only=True):
    """POST /api/tools: `spec`, or the flat fields that the clients really send."""

    name: Annotated[str, Meta(examples=["crm"])] | None = None
    spec: ToolSpec | None = None
    credentials: Secrets = Secrets()
    base_url: Annotated[str, Meta(examples=["https://crm.example.com"])] | None = None
    description: str | None = None
    auth_type: AuthenticationType | None = None
    port: int | None = None
    scheme: Scheme | None = None


_body = msgspec.json.Decoder(ToolBody)


def tool_body(body: bytes) -> ToolBody:
    """Return the body. Raises Malformed, in the documented words without a name or base URL."""
    found = decode(_body, without_nulls(body))
    if not (found.name or "").strip() or not _base_url(found):
        raise Malformed("tool name and base_url are required", field="name")
    secrets = found.credentials
    if secrets.api_key and secrets.client_secret:
        raise Malformed("send credentials.api_key or credentials.client_secret, not both")
    return found


def tool_of(body: ToolBody, current: Tool | None, credential: str | None) -> Tool:
    """Return the tool to store, made of what there was. Raises Malformed and Invalid.

    The flat shape changes what it names; `spec` is the whole tool.
    """
    if body.spec is None:
        return declared(_of_flat(body, current), current, _flat_names, credential=credential)
    wanted = _of_spec(body.spec, body, current)
    return declared(wanted, current, _spec_names, credential=credential)


def _base_url(body: ToolBody) -> str:
    return ((body.spec.connection.base_url if body.spec else body.base_url) or "").strip()


def _of_flat(body: ToolBody, current: Tool | None) -> Tool:
    check_port(body.port, "port")
    basic = BasicTool(
        base_url=_base_url(body),
        description=body.description,
        auth_type=body.auth_type,
        port=body.port,
        scheme=body.scheme,
    )
    return basic.over(current)


def _of_spec(spec: ToolSpec, body: ToolBody, current: Tool | None) -> Tool:
    connection, authentication = spec.connection, spec.connection.authentication
    check_port(connection.port, SPEC_NAMES["port"])
    if authentication.type == "OAuth2" and authentication.oauth2_config is None:
        raise Malformed(f"{AUTHENTICATION}.oauth2Config is required for OAuth2")
    return Tool(
        base_url=_base_url(body),
        description=spec.description,
        auth_type=authentication.type,
        port=connection.port or 0,
        api_key=_key_place(authentication.api_key_config),
        oauth2=_client(authentication.oauth2_config, body.credentials, current),
        capabilities=[
            Capability(
                name=each.name,
                method=each.method,
                path=each.path,
                description=each.description,
                risk_tags=each.risk_tags,
            )
            for each in spec.capabilities
        ],
        risk_tags=spec.risk_tags,
        topology=connection.topology,
        access_mode=spec.governance.access_control.mode,
    )


def _key_place(config: ApiKeyConfig | None) -> ApiKeyPlace:
    """Return where the key goes: after `Bearer ` if nothing is said, bare in a place that is."""
    if config is None or config == ApiKeyConfig():
        return ApiKeyPlace()
    return ApiKeyPlace(
        location=config.location or "Header",
        name=config.name or "Authorization",
        value_prefix=config.value_prefix or "",
    )


def _client(
    config: OAuth2Config | None, given: Secrets, current: Tool | None
) -> OAuth2Client | None:
    if config is None:
        return None
    before = current.oauth2.client_id if current and current.oauth2 else ""
    return OAuth2Client(
        token_url=config.token_url,
        client_id=given.client_id or before,
        scopes=config.scopes,
        parameters=config.auth_params,
        authorization_url=config.auth_url,
    )


def _spec_names(field: str) -> str:
    """Return what the documented shape calls a field of Tool."""
    for name, sent in SPEC_NAMES.items():
        if field == name or field.startswith((f"{name}.", f"{name}[")):
            return f"{sent}{field[len(name) :]}"
    return _flat_names(field)


def _flat_names(field: str) -> str:
    return "credentials" if field == "credential" else field
