"""The container driver: sandboxes in containers of an engine (Docker, Podman) of this machine.

For machines that have an engine and no bubblewrap. It promises the same and costs more: an engine
takes ten times as long to start one. What it does not protect against is the same, and the engine
besides: whoever reaches its socket is root, so nothing of it is shown to a sandbox.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from workers.sandboxes.bubblewrap import FAILED, OPEN, OPENED
from workers.sandboxes.container_engine import Engine, reach
from workers.sandboxes.container_opened import ContainerSandbox
from workers.sandboxes.driver import SandboxUnsupported, Scope, Spec
from workers.sandboxes.owners import Owner
from workers.sandboxes.specs import check_paths, hand_over, to_the_end, uid_for
from workers.sandboxes.uids import Uids

PLACE = Path("/run/argosy-containers")


class ContainerDriver:
    """See `driver.Driver`. For root only, who can look into containers and owns the uids."""

    name = "container"
    scope: Scope = "sandbox"

    def __init__(self, engine: Engine, *, uids: Uids) -> None:
        if os.geteuid() != 0:
            raise SandboxUnsupported("Containers are for workers that root starts.")
        PLACE.mkdir(mode=0o755, exist_ok=True)
        self.engine = engine
        self._uids = uids
        self._owner = Owner.current()

    @asynccontextmanager
    async def open(self, spec: Spec) -> AsyncGenerator[ContainerSandbox]:
        """See `driver.Driver.open`."""
        check_paths(spec)
        with uid_for(spec, self._uids) as uid:
            hand_over(spec, uid)
            async with reach(self.engine) as containers:
                name = self._owner.name_sandbox()
                sandbox = ContainerSandbox(name, uid, spec, containers, PLACE)
                OPEN.inc()
                try:
                    with FAILED.count_exceptions():
                        # The engine would go on making what nobody here knows of.
                        await to_the_end(sandbox.start(self.engine))
                    OPENED.inc()
                    yield sandbox
                finally:
                    OPEN.dec()
                    await to_the_end(sandbox.destroy())

    async def sweep(self) -> list[str]:
        """See `driver.Driver.sweep`."""
        async with reach(self.engine) as containers:
            found = {each.sandbox: each.id for each in await containers.all()}
            dead = {name for name in (*found, *await asyncio.to_thread(_folders)) if _is_dead(name)}
            for name in dead:
                await containers.remove(found.get(name, name))
                await asyncio.to_thread(shutil.rmtree, PLACE / name, ignore_errors=True)
        return sorted(dead)


def _folders() -> list[str]:
    with suppress(FileNotFoundError):
        return os.listdir(PLACE)  # noqa: PTH208 - names are enough
    return []


def _is_dead(name: str) -> bool:
    owner = Owner.of(name)
    return owner is not None and owner.is_dead()
