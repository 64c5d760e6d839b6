"""The first organization, workspace and key of an installation; doing it again changes nothing."""

import secrets

from msgspec import Struct

from adapters.wiring import Services
from api.auth import API_KEY_NAMES, MAX_KEY_LENGTH, digest_of
from api.keys import PREFIX, key_spec, make_key
from api.tenancy import WORKSPACE_NAMES
from domain.errors import Invalid
from domain.handling import Unit
from domain.ids import new_id
from domain.ports import Meta
from domain.workspaces import WORKSPACE, CreateWorkspace

ORGANIZATION_NAMES = "organization"  # reserved for the whole installation: name → organization id
FIRST_ORGANIZATION = "default"
FIRST_WORKSPACE = "default"
FIRST_KEY = "bootstrap"
SHORTEST_KEY = 8


class Bootstrapped(Struct, frozen=True, kw_only=True):
    """What there is now. `key`: an admin key, the one that was asked for or a new one."""

    organization_id: str
    workspace: str
    key: str

    def __repr__(self) -> str:
        return f"Bootstrapped(organization_id={self.organization_id!r})"


async def bootstrap(services: Services, *, api_key: str | None) -> Bootstrapped:
    """Make sure that the organization, its workspace `default` and an admin key exist.

    api_key: the key to have; None makes a new one each time. Safe to do twice or at once from
    several processes. Raises Invalid for a key that no request could carry.
    """
    key = PREFIX + secrets.token_urlsafe(32) if api_key is None else _checked(api_key)
    meta = Meta(actor="system", workspace_id="", command_id=new_id())

    async def work(unit: Unit) -> str:
        organization_id = await unit.resolve("", ORGANIZATION_NAMES, FIRST_ORGANIZATION)
        if organization_id is None:
            organization_id = new_id()
            unit.reserve("", ORGANIZATION_NAMES, FIRST_ORGANIZATION, organization_id)
        if await unit.resolve("", API_KEY_NAMES, digest_of(key)) is None:
            await make_key(unit, new_id(), FIRST_KEY, key_spec(key, organization_id, "admin"))
        return organization_id

    done = await services.commands.run(work, meta, key="bootstrap")
    await _workspace(services, done.value)
    return Bootstrapped(organization_id=done.value, workspace=FIRST_WORKSPACE, key=key)


async def _workspace(services: Services, organization_id: str) -> None:
    """Make the workspace, in an append of its own, which carries its id."""
    id = new_id()
    create = CreateWorkspace(
        workspace_id=id,
        organization_id=organization_id,
        slug=FIRST_WORKSPACE,
        name="Default",
    )

    async def work(unit: Unit) -> None:
        if await unit.resolve(organization_id, WORKSPACE_NAMES, FIRST_WORKSPACE) is None:
            await unit.decide(WORKSPACE, id, create)
            unit.reserve(organization_id, WORKSPACE_NAMES, FIRST_WORKSPACE, id)

    meta = Meta(actor="system", workspace_id=id, command_id=new_id())
    await services.commands.run(work, meta, key="bootstrap")


def _checked(key: str) -> str:
    if not SHORTEST_KEY <= len(key) <= MAX_KEY_LENGTH:
        raise Invalid(
            f"An API key has {SHORTEST_KEY} to {MAX_KEY_LENGTH} characters.", field="api_key"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Invalid("An API key is visible ASCII without spaces.", field="api_key")
    return key
