"""API keys: make, list, revoke; and which one is asking."""

import base64
import hashlib
import hmac
import secrets
import time
from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct
from msgspec.structs import replace

from api.auth import API_KEY_NAMES, digest_of, presented_key
from api.calls import Call, positioned
from api.folding import fold, missing
from api.paging import Cursor, Limit, Listed, listed
from api.times import stamp, stamp_seconds
from domain.catalog import (
    API_KEY,
    Active,
    ApiKey,
    ApplyDocument,
    Archived,
    ArchiveDocument,
    Role,
)
from domain.errors import Conflict, Forbidden, Invalid
from domain.handling import Unit
from domain.ids import new_id, stream_name
from projections.keys import KeyRow, list_keys

PREFIX = "argosy_"
SHOWN_PREFIX = 11  # characters of a key that people may see, to tell keys apart
SHOWN_FROM = 24  # a key that is shorter shows nothing of its end
MAX_NAME = 100
TEN_YEARS = 315_360_000


class NewKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """workspace: slug or id of the only workspace it sees. expires_in_seconds: None for never."""

    name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
    role: Role
    workspace: str | None = None
    expires_in_seconds: Annotated[int, Meta(ge=1, le=TEN_YEARS)] | None = None


class Key(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An API key. `key` itself is only in the answer that made it.

    status: `active`, `expired` or `revoked`.
    """

    id: str
    name: str
    role: Role
    workspace: str | None
    prefix: str
    last4: str
    created_at: str
    expires_at: str | None
    status: str
    key: str | None = None


class Who(Struct, frozen=True, kw_only=True):
    """The key that asks. `workspace`: the only one it sees, null for all."""

    key_id: str
    name: str
    role: Role
    organization_id: str
    workspace: str | None


class OwnKey(Conflict):
    """A key cannot revoke itself. Use another."""

    type = "own-key"
    title = "A key cannot revoke itself"


class _Made(Struct):
    key_id: str
    nonce: str


@get("/whoami", operation_id="WhoAmI", opt={"needs": "read"}, tags=["Keys"])
async def whoami(call: NamedDependency[Call]) -> Who:
    """Show the key that asks."""
    caller = call.caller
    return Who(
        key_id=caller.key_id,
        name=caller.name,
        role=caller.role,
        organization_id=caller.organization_id,
        workspace=await _slug(call, caller.workspace_id),
    )


class Keys(Controller):
    """`/v1/keys`. A key that is narrowed to a workspace manages that workspace's keys only."""

    path = "/keys"
    tags = ["Keys"]

    @post(operation_id="CreateKey", status_code=201, opt={"needs": "manage"})
    async def create(
        self, data: JSONBody[NewKey], request: Request[Any, Any, Any], call: NamedDependency[Call]
    ) -> Response[Key]:
        """Make a key. Keep the answer's `key`: it is stored nowhere."""
        workspace_id = await _scope(call, data.workspace)
        id, nonce = new_id(), secrets.token_urlsafe(32)
        # The secret follows from the nonce and the key that asks, so that a repeated request can
        # be answered alike although only a digest of the secret, and the nonce, are stored.
        asking = presented_key(request.scope) or ""
        spec = key_spec(
            secret_of(asking, nonce), call.caller.organization_id, data.role, workspace_id
        )
        if data.expires_in_seconds:
            spec = replace(spec, expires_at=time.time() + data.expires_in_seconds)

        async def work(unit: Unit) -> _Made:
            await make_key(unit, id, data.name, spec)
            return _Made(id, nonce)

        outcome = await call.once(
            work, _Made, workspace_id=workspace_id, key=stream_name(API_KEY.category, id)
        )
        made = outcome.facts
        found = await fold(call.store, API_KEY, made.key_id, events=1)
        assert isinstance(found.state, Active)
        shown = await _shown(call, made.key_id, found.state, found.created_at)
        return positioned(replace(shown, key=secret_of(asking, made.nonce)), outcome.position, 201)

    @get(operation_id="ListKeys", opt={"needs": "manage"})
    async def index(
        self, call: NamedDependency[Call], limit: Limit = 50, cursor: Cursor = None
    ) -> Listed[Key]:
        """List keys, revoked ones too."""
        reads, caller = call.shared.reads, call.caller
        slugs: dict[str, str | None] = {}

        async def query() -> Any:
            page = await list_keys(
                reads,
                caller.organization_id,
                workspace_id=caller.workspace_id or None,
                cursor=cursor,
                limit=limit,
            )
            for workspace_id in {row.workspace_id for row in page.items}:
                slugs[workspace_id] = await _slug(call, workspace_id)
            return page

        return await listed(call, "keys", query, lambda row: _row(row, slugs[row.workspace_id]))

    @delete("/{key_id:str}", operation_id="RevokeKey", opt={"needs": "manage"})
    async def delete(self, key_id: FromPath[str], call: NamedDependency[Call]) -> None:
        """Revoke a key; the next request with it is refused. Revoking twice changes nothing."""
        state = (await fold(call.store, API_KEY, key_id)).state
        active = state.last if isinstance(state, Archived) else state
        caller = call.caller
        if not isinstance(active, Active) or active.scope != caller.organization_id:
            raise missing("key", key_id)
        spec = active.spec
        assert isinstance(spec, ApiKey)
        if caller.workspace_id and spec.workspace_id != caller.workspace_id:
            raise missing("key", key_id)
        if key_id == caller.key_id:
            raise OwnKey("This is the key that asks; revoke it with another.", key=key_id)

        async def work(unit: Unit) -> None:
            if await unit.decide(API_KEY, key_id, ArchiveDocument(document_id=key_id)):
                unit.reserve("", API_KEY_NAMES, spec.digest, "")

        await call.services.commands.run(
            work, call.meta(spec.workspace_id), key=stream_name(API_KEY.category, key_id)
        )


async def make_key(unit: Unit, id: str, name: str, spec: ApiKey) -> None:
    """Decide a new key."""
    apply = ApplyDocument(document_id=id, scope=spec.organization_id, name=name, spec=spec)
    await unit.decide(API_KEY, id, apply)
    unit.reserve("", API_KEY_NAMES, spec.digest, id)


def key_spec(key: str, organization_id: str, role: Role, workspace_id: str = "") -> ApiKey:
    """Return what is stored of a key: its digest, and enough for people to tell it apart."""
    long = len(key) >= SHOWN_FROM
    return ApiKey(
        organization_id=organization_id,
        digest=digest_of(key),
        prefix=key[:SHOWN_PREFIX] if long else "",
        last4=key[-4:] if long else "",
        role=role,
        workspace_id=workspace_id,
    )


def secret_of(asking: str, nonce: str) -> str:
    """Return a new key: `argosy_` and 43 characters, unguessable without both arguments."""
    made = hmac.digest(asking.encode(), f"argosy key {nonce}".encode(), hashlib.sha256)
    return PREFIX + base64.urlsafe_b64encode(made).decode().rstrip("=")


async def _scope(call: Call, workspace: str | None) -> str:
    if workspace is not None:
        try:
            return (await call.open_workspace(workspace)).id
        except Conflict as refusal:
            raise Invalid(refusal.detail, field="workspace") from None
    if call.caller.workspace_id:
        raise Forbidden(
            "A key that is narrowed to one workspace makes keys for that workspace only; name it."
        )
    return ""


async def _slug(call: Call, workspace_id: str) -> str | None:
    return await call.shared.tenancy.slug_of(workspace_id) if workspace_id else None


async def _shown(call: Call, id: str, active: Active, created_at: str) -> Key:
    spec = active.spec
    assert isinstance(spec, ApiKey)
    return Key(
        id=id,
        name=active.name,
        role=spec.role,
        workspace=await _slug(call, spec.workspace_id),
        prefix=spec.prefix,
        last4=spec.last4,
        created_at=created_at,
        expires_at=stamp_seconds(spec.expires_at) if spec.expires_at else None,
        status="active",
    )


def _row(row: KeyRow, workspace: str | None) -> Key:
    over = row.expires_at is not None and row.expires_at.timestamp() <= time.time()
    return Key(
        id=row.id,
        name=row.name,
        role=row.role,
        workspace=workspace,
        prefix=row.prefix,
        last4=row.last4,
        created_at=stamp(row.created_at),
        expires_at=stamp(row.expires_at) if row.expires_at else None,
        status="expired" if row.status == "active" and over else row.status,
    )
