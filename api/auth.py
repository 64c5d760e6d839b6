"""Who is asking, and what that role may do.

A key is looked up by its SHA-256, never compared: the time this takes says nothing about how close
a wrong key was. The name is looked up for every request, so a revoked key is refused at once.
Not protected against: somebody who reads the key where it is kept, or on a connection without TLS.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from msgspec import Struct

from api.headers import header
from api.limits import HasLimits
from domain.catalog import API_KEY, Active, ApiKey, Role
from domain.errors import Forbidden, Unauthenticated
from domain.ids import stream_name
from domain.ports import EventStore

# read: see resources. write: deploy, run, cancel, delete agents. audit: the log.
# manage: keys and workspaces.
type Permission = Literal["read", "write", "audit", "manage"]

PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    "viewer": frozenset({"read"}),
    "auditor": frozenset({"read", "audit"}),
    "deployer": frozenset({"read", "write"}),
    "admin": frozenset({"read", "write", "audit", "manage"}),
}
API_KEY_NAMES = "api_key"  # reserved for the whole installation: digest (hex) → document id
MAX_KEY_LENGTH = 512
KEEP_KEYS = 10_000

# The first that is there counts. RunAgents' clients send an end user's token as Bearer beside it.
KEY_HEADERS = (b"x-runagents-api-key", b"x-api-key")


class Caller(Struct, frozen=True, kw_only=True):
    """A valid key. `workspace_id`: the only workspace it sees, empty for the organization's all."""

    key_id: str
    name: str
    role: Role
    organization_id: str
    workspace_id: str

    @property
    def actor(self) -> str:
        """How the log names it."""
        return f"key:{self.key_id}"


class Keys:
    """Finds callers by their keys."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        # A key's document never changes until it is archived, and then its name is gone.
        self._known: OrderedDict[str, Active] = OrderedDict()

    async def caller(self, key: str | None) -> Caller:
        """Return who has this key. Raises Unauthenticated."""
        if key is None:
            raise Unauthenticated("Send an API key as `Authorization: Bearer <key>`.")
        id = None
        if len(key) <= MAX_KEY_LENGTH:
            id = await self._store.resolve("", API_KEY_NAMES, digest_of(key))
        document = await self._document(id) if id else None
        if id is None or document is None:
            raise Unauthenticated("The API key is unknown or was revoked.")
        spec = document.spec
        assert isinstance(spec, ApiKey)
        if spec.expires_at and time.time() >= spec.expires_at:
            raise Unauthenticated("The API key has expired.")
        return Caller(
            key_id=id,
            name=document.name,
            role=spec.role,
            organization_id=spec.organization_id,
            workspace_id=spec.workspace_id,
        )

    async def _document(self, id: str) -> Active | None:
        if id in self._known:
            self._known.move_to_end(id)
            return self._known[id]
        head = await self._store.load(stream_name(API_KEY.category, id))
        state = API_KEY.fold(recorded.event for recorded in head.events)
        if not isinstance(state, Active):
            return None
        self._known[id] = state
        if len(self._known) > KEEP_KEYS:
            self._known.popitem(last=False)
        return state


class HasKeys(HasLimits, Protocol):
    """What the app's shared parts must have."""

    keys: Keys


def digest_of(key: str) -> str:
    """Return what is stored of a key."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def presented_key(scope: HTTPScope) -> str | None:
    """Return the key that a request carries."""
    for name in KEY_HEADERS:
        if key := header(scope, name):
            return key
    scheme, _, key = (header(scope, b"authorization") or "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def allow(caller: Caller, needs: Permission) -> None:
    """Raise Forbidden unless the caller's role has the permission."""
    if needs not in PERMISSIONS[caller.role]:
        enough = ", ".join(role for role, has in PERMISSIONS.items() if needs in has)
        raise Forbidden(
            f"The role {caller.role} may not do this; it takes {enough}.",
            role=caller.role,
            needs=needs,
        )


class Authentication:
    """Middleware: finds the caller, counts the request, and checks the permission it needs.

    The handler names that in its `opt`; one that names none needs the highest. (A guard would be
    copied for every request.)

    key_of: returns the key that a request carries, or refuses it.
    """

    def __init__(
        self, app: ASGIApp, key_of: Callable[[HTTPScope], str | None] = presented_key
    ) -> None:
        self._app = app
        self._key_of = key_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through that may pass. Raises Unauthenticated, LimitReached, Forbidden."""
        assert scope["type"] == "http"
        shared: HasKeys = scope["litestar_app"].state.shared
        caller = await shared.keys.caller(self._key_of(scope))
        shared.limits.admit(scope, caller.actor)
        allow(caller, scope["route_handler"].opt.get("needs", "manage"))
        scope["auth"] = caller
        await self._app(scope, receive, send)
