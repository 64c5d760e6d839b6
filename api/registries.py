"""Registries: what a workspace signs in with to fetch private images."""

from litestar import Controller, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from api.calls import Call
from api.documents import Shown, as_named, declare, declaring, delete_named, find, list_page
from api.paging import Cursor, Limit, Listed
from domain import catalog
from domain.documents import REGISTRIES
from domain.registries import declared_registry


class NewRegistry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A registry, whole. host: with its port, if it is not 443.

    credential: the password or token, which is kept where it is left out; never shown again.
    """

    host: str
    username: str
    credential: str | None = None

    def __repr__(self) -> str:
        return f"NewRegistry(host={self.host!r})"


class Registry(Struct, frozen=True, kw_only=True):
    """A registry. lacks: what it still needs."""

    id: str
    name: str
    workspace_id: str
    revision: int
    host: str
    username: str
    has_credential: bool
    lacks: str
    created_at: str
    updated_at: str


class Registries(Controller):
    """`/v1/workspaces/{workspace}/registries`."""

    path = "/workspaces/{workspace:str}/registries"
    tags = ["Registries"]

    @get(operation_id="ListRegistries", opt={"needs": "read"})
    async def index(
        self,
        workspace: FromPath[str],
        call: NamedDependency[Call],
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Listed[Registry]:
        """List the registries that a workspace signs in to."""
        place = await call.workspace(workspace)
        return await list_page(call, place, REGISTRIES, view, cursor=cursor, limit=limit)

    @get("/{name:str}", operation_id="ShowRegistry", opt={"needs": "read"})
    async def show(
        self, workspace: FromPath[str], name: FromPath[str], call: NamedDependency[Call]
    ) -> Registry:
        """Show a registry."""
        return view(await find(call, await call.workspace(workspace), REGISTRIES, name))

    @put(
        "/{name:str}",
        operation_id="ApplyRegistry",
        opt={"needs": "write"},
        responses=declaring(Registry),
    )
    async def update(
        self,
        workspace: FromPath[str],
        name: FromPath[str],
        data: JSONBody[NewRegistry],
        call: NamedDependency[Call],
    ) -> Response[Registry]:
        """Declare a registry: 201 if the name was free, else 200."""
        wanted = catalog.Registry(host=data.host, username=data.username)

        def spec_of(current: catalog.Registry | None, credential: str | None) -> catalog.Registry:
            return declared_registry(wanted, current, as_named, credential=credential)

        place = await call.open_workspace(workspace)
        return await declare(
            call, place, REGISTRIES, name, spec_of, view=view, secret=data.credential
        )

    @delete("/{name:str}", operation_id="DeleteRegistry", opt={"needs": "write"})
    async def delete(
        self, workspace: FromPath[str], name: FromPath[str], call: NamedDependency[Call]
    ) -> None:
        """Delete a registry and its password. Images that were fetched stay."""
        await delete_named(call, await call.workspace(workspace), REGISTRIES, name)


def view(found: Shown[catalog.Registry]) -> Registry:
    """Return a registry as clients see it."""
    return Registry(
        id=found.id,
        name=found.name,
        workspace_id=found.workspace_id,
        revision=found.revision,
        host=found.spec.host,
        username=found.spec.username,
        has_credential=found.has_credential,
        lacks="" if found.has_credential else "Its password is missing.",
        created_at=found.created_at,
        updated_at=found.updated_at,
    )
