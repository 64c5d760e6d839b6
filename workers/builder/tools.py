"""What a build works with, given to it once per process."""

from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from adapters.pins import Pinned
from adapters.settings import Settings
from domain.execution import Base
from domain.limits import Limits
from domain.ports import Blobs
from workers.builder.indexes import PackageIndex
from workers.layers import LayerCache
from workers.sandboxes import bases
from workers.sandboxes.driver import Driver, Scope

# `seconds` is for the whole build, the rest for each program of it; `disk_mb` also for the layer.
BUILD_LIMITS = Limits(
    memory_mb=2_048, cpu=2.0, pids=256, disk_mb=4_096, seconds=900, output_kb=1_024
)


class Credential(Struct, frozen=True):
    """What a workspace signs in to a registry with. No text shows the password."""

    username: str
    password: str

    def __repr__(self) -> str:
        """Show who signs in, not with what."""
        return f"Credential(username={self.username!r})"


type Login = Callable[[str, str], Awaitable[Credential | None]]
"""From a workspace's id and a registry's host; None for nothing to sign in with."""


async def no_login(workspace_id: str, host: str) -> Credential | None:
    """Sign in nowhere."""
    del workspace_id, host
    return None


type Slug = Callable[[str], Awaitable[str]]
"""From a workspace's id to what people call it."""


async def its_id(workspace_id: str) -> str:
    """Call a workspace by its id."""
    return workspace_id


class BuildTools(Struct, frozen=True, kw_only=True):
    """The parts of this machine.

    base: what requirements are judged by. python: the same base, as sandboxes show it.
    locks: the packages of `base.frameworks` by name.
    others: the same for other Pythons, by the name of their plain base.
    scope: what the limits must hold for; a build is refused where they cannot.
    settings: of registries, and of where they may be.
    login: what a workspace signs in to a registry with. slug: what a workspace is called.
    """

    base: Base
    python: bases.Base
    layers: LayerCache
    blobs: Blobs
    driver: Driver
    index: PackageIndex
    locks: Mapping[str, tuple[Pinned, ...]] = {}
    limits: Limits = BUILD_LIMITS
    scope: Scope = "sandbox"
    others: Mapping[str, "BuildTools"] = {}
    settings: Settings = Settings()
    login: Login = no_login
    slug: Slug = its_id

    def of(self, base: Base) -> "BuildTools":
        """Return those of a plain base. Raises KeyError for one that is not of this machine."""
        return self if base.name == self.base.name else self.others[base.name]
