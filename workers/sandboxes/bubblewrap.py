"""The bubblewrap driver: Linux namespaces without a daemon, for root and for ordinary users.

What it does not protect against: holes in the kernel's namespaces and in the system calls that
remain; leaks between processes through the processor's caches; a program reading the paths and
device names of its mounts in /proc, or the machine's load and memory.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext

from prometheus_client import Counter, Gauge

from workers.sandboxes.driver import SandboxUnsupported, Scope, Spec
from workers.sandboxes.groups import Cgroups, Group, make_group, remove
from workers.sandboxes.kernel import adopt_orphans
from workers.sandboxes.launches import Launch, launch
from workers.sandboxes.namespaces import Paths
from workers.sandboxes.opened import BubblewrapSandbox
from workers.sandboxes.orphans import sweep_orphans
from workers.sandboxes.owners import Owner
from workers.sandboxes.specs import check_paths, hand_over, to_the_end, uid_for
from workers.sandboxes.uids import Uids

OPEN = Gauge("argosy_sandboxes_open", "Sandboxes of this process.")
OPENED = Counter("argosy_sandboxes_opened_total", "Sandboxes that opened.")
FAILED = Counter("argosy_sandboxes_failed_total", "Sandboxes that did not open.")


class BubblewrapDriver:
    """See `driver.Driver`. Sandboxes are started by one thread of its own.

    They end with the thread that started them, so that one lives as long as the driver; starting
    one takes some ms, in which the loop goes on; and it is this thread that meanwhile has another
    uid and is in the sandbox's control group, not the one that everything else runs on.
    `uids` must be given exactly when root starts it. `paths` come from prepare_mount_namespace.
    """

    name = "bubblewrap"

    def __init__(
        self, bwrap: str, *, cgroups: Cgroups | None, uids: Uids | None, paths: Paths
    ) -> None:
        if (uids is None) == (os.geteuid() == 0):
            raise SandboxUnsupported("A program is never run as the host's root.")
        self.scope: Scope = "sandbox" if cgroups else "process"
        self._bwrap = bwrap
        self._cgroups = cgroups
        self._uids = uids
        self._paths = paths
        self._owner = Owner.current()
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox-starter")
        adopt_orphans()

    @asynccontextmanager
    async def open(self, spec: Spec) -> AsyncGenerator[BubblewrapSandbox]:
        """See `driver.Driver.open`."""
        self._check(spec)
        with uid_for(spec, self._uids) as uid:
            if self._uids is not None:
                hand_over(spec, uid)
            with FAILED.count_exceptions():
                sandbox = await self._launch(spec, uid)
            OPEN.inc()
            try:
                with FAILED.count_exceptions():
                    await sandbox.start()
                OPENED.inc()
                yield sandbox
            finally:
                OPEN.dec()
                await to_the_end(sandbox.destroy())

    async def sweep(self) -> list[str]:
        """See `driver.Driver.sweep`. An ordinary user's sees that user's sandboxes only."""
        return await sweep_orphans(self._cgroups)

    def _check(self, spec: Spec) -> None:
        if spec.scope == "sandbox" and self._cgroups is None:
            raise SandboxUnsupported(
                "Limits hold only for single processes here: there are no cgroups we may use."
            )
        check_paths(spec)

    async def _launch(self, spec: Spec, uid: int) -> BubblewrapSandbox:
        """Start it, and end it again if we are cancelled meanwhile."""
        starting = asyncio.ensure_future(self._start(spec, uid))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await to_the_end(_undo(starting))
            raise

    async def _start(self, spec: Spec, uid: int) -> BubblewrapSandbox:
        name = self._owner.name_sandbox()
        loop = asyncio.get_running_loop()
        try:
            launched, group = await loop.run_in_executor(
                self._starter, self._start_here, spec, uid, name
            )
        except BaseException as error:
            if self._cgroups is not None:
                await remove(self._cgroups.find(name))
            if isinstance(error, OSError):
                words = f"bubblewrap could not be started: {error}."
                raise SandboxUnsupported(words) from error
            raise
        return BubblewrapSandbox(name, uid, spec, launched, group)

    def _start_here(self, spec: Spec, uid: int, name: str) -> tuple[Launch, Group | None]:
        bwrap = self._paths.open_path(self._bwrap)
        group = make_group(self._cgroups, name, spec.limits) if self._cgroups else None
        with group.around_start() if group else nullcontext():
            return launch(bwrap, uid, spec, self._paths, name), group


async def _undo(starting: asyncio.Future[BubblewrapSandbox]) -> None:
    with contextlib.suppress(SandboxUnsupported):
        await (await starting).destroy()
