"""What handlers work with: the parts that all requests share, and one authenticated request."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from msgspec import Struct
from structlog.contextvars import bind_contextvars

from adapters.wiring import Services
from api.access import TRACE
from api.auth import Caller, Keys
from api.folding import missing
from api.idempotency import idempotency_of
from api.limits import RateLimits
from api.live import LiveHub
from api.syntax import Syntax
from api.tenancy import Place, Tenancy
from domain.decider import Recorded
from domain.errors import Conflict
from domain.execution import Base
from domain.handling import Idempotency, Unit
from domain.ids import new_id
from domain.images import ImageName, image_uri
from domain.ports import Meta
from projections.reads import ReadModels

POSITION_HEADER = "X-Argosy-Position"


class WorkspaceIsArchived(Conflict):
    """Nothing new can happen in an archived workspace. Use another one."""

    type = "workspace-archived"
    title = "The workspace is archived"


class Shared:
    """The parts that all requests of this process share. `draining`: it was told to stop."""

    def __init__(self, services: Services, reads: ReadModels, base: Base) -> None:
        self.draining = False
        self.services = services
        self.reads = reads
        self.base = base
        self.installation = services.settings.installation
        self.syntax = Syntax()
        self.keys = Keys(services.store)
        self.limits = RateLimits(services.settings.request_rate, services.settings.request_burst)
        self.tenancy = Tenancy(services.store)
        self.hub = LiveHub(services.store, services.live)


class Outcome[T](Struct, frozen=True):
    """What a command led to, and what it appended: nothing where it had been done before."""

    facts: T
    position: int
    recorded: Sequence[Recorded[Any]]


class Call:
    """One authenticated request: who asks, what it may use, and how it changes anything."""

    def __init__(
        self,
        shared: Shared,
        caller: Caller,
        request_id: str,
        idempotency: Idempotency | None,
        *,
        traceparent: str = "",
    ) -> None:
        self.shared = shared
        self.services = shared.services
        self.store = shared.services.store
        self.caller = caller
        self.request_id = request_id
        self._idempotency = idempotency
        self._traceparent = traceparent

    async def workspace(self, name: str) -> Place:
        """Return a workspace by slug or id, to read in. Raises NotFound."""
        place = await self.shared.tenancy.find(self.caller, name)
        bind_contextvars(workspace=place.id)
        return place

    async def open_workspace(self, name: str) -> Place:
        """Return a workspace to change something in. Raises NotFound, WorkspaceIsArchived."""
        place = await self.workspace(name)
        # By its slug only an active workspace is found: archiving gives the slug back.
        if place.id == name and not await self.shared.tenancy.active(place.id):
            raise WorkspaceIsArchived(f"The workspace {place.slug} is archived.")
        return place

    async def named(self, place: Place, kind: str, name: str) -> str:
        """Return the id that a name stands for in a workspace. Raises NotFound."""
        id = None
        if name.isascii() and name.isprintable():
            id = await self.store.resolve(place.id, kind, name)
        if id is None:
            raise missing(kind, name)
        return id

    async def sees(self, workspace_id: str) -> bool:
        """Whether the caller may know of anything in this workspace."""
        return await self.shared.tenancy.sees(self.caller, workspace_id)

    def image_uri(self, workspace: str, agent: str, name: ImageName) -> str:
        """Return what container engines pull, by names; empty if there is no such thing."""
        settings = self.services.settings
        return image_uri(settings.own_registry, settings.registry, workspace, agent, name)

    def meta(self, workspace_id: str) -> Meta:
        """Return the envelope of this request's command."""
        return Meta(
            actor=self.caller.actor,
            workspace_id=workspace_id,
            command_id=self._idempotency.key if self._idempotency else new_id(),
            correlation_id=self.request_id,
            causation_id=self._traceparent,
        )

    async def once[T](
        self,
        work: Callable[[Unit], Awaitable[T]],
        kind: type[T],
        *,
        workspace_id: str,
        key: str,
    ) -> Outcome[T]:
        """Do `work` once per idempotency key; returns what it returned then.

        kind: what work returns: the facts that the answer is made of, stored as JSON.
        """

        async def encoded(unit: Unit) -> bytes:
            return msgspec.json.encode(await work(unit))

        once = await self.services.commands.do_once(
            encoded, self.meta(workspace_id), key=key, idempotency=self._idempotency
        )
        return Outcome(msgspec.json.decode(once.body, type=kind), once.position, once.recorded)


# Any: the app's user and auth types are ours, set by the guard.
async def provide_call(request: Request[Any, Any, State]) -> Call:
    """Dependency `call`. The guard has found the caller already."""
    caller: Caller = request.scope["auth"]
    state = request.scope["state"]
    return Call(
        request.app.state.shared,
        caller,
        str(state["request_id"]),
        await idempotency_of(request, caller),
        traceparent=state[TRACE],
    )


def positioned[T](content: T, position: int, status_code: int) -> Response[T]:
    """Return an answer that says where the log was when it was made."""
    return Response(content, status_code=status_code, headers={POSITION_HEADER: str(position)})
