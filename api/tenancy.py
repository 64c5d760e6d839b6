"""Which workspaces a caller sees. What it does not see does not exist for it: 404, never 403."""

import time

from msgspec import Struct

from api.auth import Caller
from api.folding import fold, is_id, missing
from domain.ports import EventStore
from domain.workspaces import WORKSPACE, Absent, Active

# How long a slug may go on meaning a workspace that another process has archived.
SLUG_SECONDS = 1.0
WORKSPACE_NAMES = "workspace"  # reserved in the organization: slug → workspace id


class Place(Struct, frozen=True):
    """A workspace that the caller sees."""

    id: str
    slug: str


class Tenancy:
    """Finds workspaces and checks who may see them."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._organizations: dict[str, str] = {}  # workspace id → organization; never changes
        self._slugs: dict[tuple[str, str], tuple[str, float]] = {}

    async def find(self, caller: Caller, name: str) -> Place:
        """Return a workspace by slug or id. An archived one is found by its id only.

        Raises NotFound.
        """
        id, slug = await self._resolve(caller, name), name
        if id is None and is_id(name):
            found = (await fold(self._store, WORKSPACE, name)).state
            if not isinstance(found, Absent) and found.organization_id == caller.organization_id:
                id, slug = name, found.slug
        if id is None or (caller.workspace_id and caller.workspace_id != id):
            raise missing("workspace", name)
        return Place(id, slug)

    def forget(self, caller: Caller, slug: str) -> None:
        """Look the slug up again: it was given back."""
        self._slugs.pop((caller.organization_id, slug), None)

    async def slug_of(self, workspace_id: str) -> str:
        """Return a workspace's slug."""
        state = (await fold(self._store, WORKSPACE, workspace_id)).state
        return "" if isinstance(state, Absent) else state.slug

    async def sees(self, caller: Caller, workspace_id: str) -> bool:
        """Whether the workspace exists for this caller."""
        if caller.workspace_id:
            return caller.workspace_id == workspace_id
        return await self._organization_of(workspace_id) == caller.organization_id

    async def active(self, workspace_id: str) -> bool:
        """Whether new things may happen in it."""
        return isinstance((await fold(self._store, WORKSPACE, workspace_id)).state, Active)

    async def _resolve(self, caller: Caller, slug: str) -> str | None:
        if not slug.isascii() or not slug.isprintable():
            return None
        place = (caller.organization_id, slug)
        id, until = self._slugs.get(place, ("", 0.0))
        if time.monotonic() < until:
            return id
        found = await self._store.resolve(caller.organization_id, WORKSPACE_NAMES, slug)
        if found is None:
            self._slugs.pop(place, None)
        else:
            self._slugs[place] = (found, time.monotonic() + SLUG_SECONDS)
        return found

    async def _organization_of(self, workspace_id: str) -> str:
        known = self._organizations.get(workspace_id)
        if known is None:
            state = (await fold(self._store, WORKSPACE, workspace_id)).state
            if isinstance(state, Absent):
                return ""
            known = self._organizations[workspace_id] = state.organization_id
        return known
