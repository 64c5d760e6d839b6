"""Tools: what agents may call through the gateway. Declare, list, show, delete."""

from typing import Annotated

from litestar import Controller, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from api.calls import Call
from api.documents import Shown, as_named, declare, declaring, delete_named, find, list_page, recast
from api.paging import Cursor, Limit, Listed
from domain import catalog
from domain.catalog import AuthenticationType
from domain.documents import TOOLS
from domain.errors import Invalid
from domain.tools import declared, lacking
from domain.urls import tool_address


class ApiKeyPlace(
    catalog.ApiKeyPlace,
    frozen=True,
    kw_only=True,
    omit_defaults=False,
    forbid_unknown_fields=True,
):
    """Where the key goes: a header or a query parameter, after `value_prefix`."""


class OAuth2Client(
    catalog.OAuth2Client,
    frozen=True,
    kw_only=True,
    omit_defaults=False,
    forbid_unknown_fields=True,
):
    """How the gateway gets a token: client credentials. The client's secret is `credential`."""


class Capability(
    catalog.Capability,
    frozen=True,
    kw_only=True,
    omit_defaults=False,
    forbid_unknown_fields=True,
):
    """One thing that the tool can do. If any is named, nothing else is let through."""


class NewTool(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool, whole: what is left out has its default, but for the credential, which is kept.

    credential: the API key, or the OAuth2 client's secret; empty to have none. Never shown again.
    """

    base_url: str
    description: str = ""
    auth_type: AuthenticationType = "None"
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    api_key: ApiKeyPlace | None = None
    oauth2: OAuth2Client | None = None
    credential: str | None = None
    capabilities: list[Capability] = []
    risk_tags: list[str] = []
    topology: catalog.Topology = "External"
    access_mode: catalog.AccessMode = "Open"

    def __repr__(self) -> str:
        return f"NewTool(base_url={self.base_url!r})"


class Tool(Struct, frozen=True, kw_only=True):
    """A tool. address: what is really called. lacks: what it still needs, as a sentence."""

    id: str
    name: str
    workspace_id: str
    revision: int
    base_url: str
    address: str
    description: str
    auth_type: AuthenticationType
    port: int
    api_key: ApiKeyPlace | None
    oauth2: OAuth2Client | None
    has_credential: bool
    capabilities: list[Capability]
    risk_tags: list[str]
    topology: catalog.Topology
    access_mode: catalog.AccessMode
    lacks: str
    created_at: str
    updated_at: str


class Tools(Controller):
    """`/v1/workspaces/{workspace}/tools`."""

    path = "/workspaces/{workspace:str}/tools"
    tags = ["Tools"]

    @get(operation_id="ListTools", opt={"needs": "read"})
    async def index(
        self,
        workspace: FromPath[str],
        call: NamedDependency[Call],
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Listed[Tool]:
        """List a workspace's tools."""
        place = await call.workspace(workspace)
        return await list_page(call, place, TOOLS, view, cursor=cursor, limit=limit)

    @get("/{name:str}", operation_id="ShowTool", opt={"needs": "read"})
    async def show(
        self, workspace: FromPath[str], name: FromPath[str], call: NamedDependency[Call]
    ) -> Tool:
        """Show a tool."""
        return view(await find(call, await call.workspace(workspace), TOOLS, name))

    @put(
        "/{name:str}",
        operation_id="ApplyTool",
        opt={"needs": "write"},
        responses=declaring(Tool),
    )
    async def update(
        self,
        workspace: FromPath[str],
        name: FromPath[str],
        data: JSONBody[NewTool],
        call: NamedDependency[Call],
    ) -> Response[Tool]:
        """Declare a tool: 201 if the name was free, else 200. The same again changes nothing."""
        wanted = _wanted(data)

        def spec_of(current: catalog.Tool | None, credential: str | None) -> catalog.Tool:
            return declared(wanted, current, as_named, credential=credential)

        place = await call.open_workspace(workspace)
        secret = data.credential
        return await declare(call, place, TOOLS, name, spec_of, view=view, secret=secret)

    @delete("/{name:str}", operation_id="DeleteTool", opt={"needs": "write"})
    async def delete(
        self, workspace: FromPath[str], name: FromPath[str], call: NamedDependency[Call]
    ) -> None:
        """Delete a tool and its credential. Agents that require it wait until it is there again."""
        await delete_named(call, await call.workspace(workspace), TOOLS, name)


def _wanted(data: NewTool) -> catalog.Tool:
    if data.auth_type == "OAuth2" and data.oauth2 is None:
        raise Invalid("OAuth2 needs a client: `token_url` and `client_id`.", field="oauth2")
    return catalog.Tool(
        base_url=data.base_url,
        description=data.description,
        auth_type=data.auth_type,
        port=data.port or 0,
        api_key=data.api_key and recast(data.api_key, catalog.ApiKeyPlace),
        oauth2=data.oauth2 and recast(data.oauth2, catalog.OAuth2Client),
        capabilities=[recast(each, catalog.Capability) for each in data.capabilities],
        risk_tags=data.risk_tags,
        topology=data.topology,
        access_mode=data.access_mode,
    )


def view(found: Shown[catalog.Tool]) -> Tool:
    """Return a tool as clients see it."""
    tool = found.spec
    return Tool(
        id=found.id,
        name=found.name,
        workspace_id=found.workspace_id,
        revision=found.revision,
        base_url=tool.base_url,
        address=tool_address(tool).url,
        description=tool.description,
        auth_type=tool.auth_type,
        port=tool.port,
        api_key=tool.api_key and recast(tool.api_key, ApiKeyPlace),
        oauth2=tool.oauth2 and recast(tool.oauth2, OAuth2Client),
        has_credential=found.has_credential,
        capabilities=[recast(each, Capability) for each in tool.capabilities],
        risk_tags=tool.risk_tags,
        topology=tool.topology,
        access_mode=tool.access_mode,
        lacks=lacking(tool, has_credential=found.has_credential),
        created_at=found.created_at,
        updated_at=found.updated_at,
    )
