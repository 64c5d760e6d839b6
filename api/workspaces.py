"""Workspaces: create, list, show, archive."""

from typing import Annotated, Any

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from api.calls import Call, positioned
from api.folding import Folded, fold, missing
from api.paging import Cursor, Limit, Listed, listed
from api.tenancy import WORKSPACE_NAMES
from api.times import stamp
from domain import workspaces
from domain.errors import Forbidden, NameTaken
from domain.handling import Unit
from domain.ids import new_id, stream_name
from domain.sources import check_name
from domain.workspaces import WORKSPACE, ArchiveWorkspace, CreateWorkspace
from projections.workspaces import WorkspaceRow, list_workspaces

MAX_NAME = 200


class NewWorkspace(Struct, frozen=True, forbid_unknown_fields=True):
    """`slug`: a DNS label, unique in the organization. `name`: for people; the slug if empty."""

    slug: str
    name: Annotated[str, Meta(max_length=MAX_NAME)] = ""


class Workspace(Struct, frozen=True, kw_only=True):
    """A workspace. status: `active` or `archived`."""

    id: str
    slug: str
    name: str
    status: str
    created_at: str


class _Made(Struct):
    workspace_id: str


class Workspaces(Controller):
    """`/v1/workspaces`."""

    path = "/workspaces"
    tags = ["Workspaces"]

    @post(operation_id="CreateWorkspace", status_code=201, opt={"needs": "manage"})
    async def create(
        self, data: JSONBody[NewWorkspace], call: NamedDependency[Call]
    ) -> Response[Workspace]:
        """Create a workspace. 409 `name-taken` when the slug is another's."""
        if call.caller.workspace_id:
            raise Forbidden("A key that is narrowed to one workspace cannot create others.")
        slug = check_name(data.slug, field="slug")
        id = new_id()
        create = CreateWorkspace(
            workspace_id=id,
            organization_id=call.caller.organization_id,
            slug=slug,
            name=data.name or slug,
        )

        async def work(unit: Unit) -> _Made:
            if await unit.resolve(call.caller.organization_id, WORKSPACE_NAMES, slug):
                raise NameTaken(f"There is a workspace {slug!r} already.", slug=slug)
            await unit.decide(WORKSPACE, id, create)
            unit.reserve(call.caller.organization_id, WORKSPACE_NAMES, slug, id)
            return _Made(id)

        made = await call.once(
            work, _Made, workspace_id=id, key=f"workspace {call.caller.organization_id} {slug}"
        )
        found = await fold(call.store, WORKSPACE, made.facts.workspace_id, events=1)
        return positioned(shown(found), made.position, 201)

    @get(operation_id="ListWorkspaces", opt={"needs": "read"})
    async def index(
        self, call: NamedDependency[Call], limit: Limit = 50, cursor: Cursor = None
    ) -> Listed[Workspace]:
        """List the workspaces that this key sees."""
        reads, caller = call.shared.reads, call.caller

        async def query() -> Any:
            only = caller.workspace_id or None
            return await list_workspaces(
                reads, caller.organization_id, only=only, cursor=cursor, limit=limit
            )

        return await listed(call, "workspaces", query, _row)

    @get("/{workspace:str}", operation_id="ShowWorkspace", opt={"needs": "read"})
    async def show(self, workspace: FromPath[str], call: NamedDependency[Call]) -> Workspace:
        """Show a workspace, by slug or id."""
        place = await call.workspace(workspace)
        return shown(await fold(call.store, WORKSPACE, place.id))

    @delete("/{workspace:str}", operation_id="ArchiveWorkspace", opt={"needs": "manage"})
    async def delete(self, workspace: FromPath[str], call: NamedDependency[Call]) -> None:
        """Archive a workspace: its history stays, nothing new can happen, its slug is free."""
        place = await call.workspace(workspace)

        async def work(unit: Unit) -> None:
            archive = ArchiveWorkspace(workspace_id=place.id)
            if await unit.decide(WORKSPACE, place.id, archive):
                unit.reserve(call.caller.organization_id, WORKSPACE_NAMES, place.slug, "")

        await call.services.commands.run(
            work, call.meta(place.id), key=stream_name(WORKSPACE.category, place.id)
        )
        call.shared.tenancy.forget(call.caller, place.slug)


def shown(found: Folded[workspaces.Workspace]) -> Workspace:
    """Return a workspace as clients see it. Raises NotFound."""
    match found.state:
        case workspaces.Absent():
            raise missing("workspace", found.id)
        case workspaces.Active(slug=slug, name=name):
            status = "active"
        case workspaces.Archived(slug=slug):
            name, status = slug, "archived"
    return Workspace(id=found.id, slug=slug, name=name, status=status, created_at=found.created_at)


def _row(row: WorkspaceRow) -> Workspace:
    return Workspace(
        id=row.id,
        slug=row.slug,
        name=row.name,
        status=row.status,
        created_at=stamp(row.created_at),
    )
