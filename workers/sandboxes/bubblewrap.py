"""The bubblewrap driver: Linux namespaces without a daemon, for root and for ordinary users.

What it does not protect against: holes in the kernel's namespaces and in the system calls that
remain; leaks between processes through the processor's caches; a program reading the paths and
device names of its mounts in /proc, or the machine's load and memory. With `network="host"` the
program reaches whatever this machine reaches.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path, PurePosixPath

from prometheus_client import Counter, Gauge

from domain.errors import Invalid
from workers.sandboxes.driver import SandboxUnsupported, Scope, Spec
from workers.sandboxes.groups import Cgroups, Group, make_group, remove
from workers.sandboxes.kernel import adopt_orphans
from workers.sandboxes.launches import Launch, launch
from workers.sandboxes.namespaces import Paths
from workers.sandboxes.opened import BubblewrapSandbox
from workers.sandboxes.owners import Owner
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
        with self._uid_for(spec) as uid:
            self._hand_over(spec, uid)
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
                await _to_the_end(sandbox.destroy())

    def _check(self, spec: Spec) -> None:
        if spec.scope == "sandbox" and self._cgroups is None:
            raise SandboxUnsupported(
                "Limits hold only for single processes here: there are no cgroups we may use."
            )
        mounts = (*spec.layers, *spec.writable)
        inside = [*(mount.target for mount in mounts), *(link.path for link in spec.symlinks)]
        for path in (*inside, *spec.hidden, *spec.files, spec.working_directory):
            if not path.startswith("/") or path == "/" or ".." in PurePosixPath(path).parts:
                raise Invalid(f"{path!r} is not a path below / without `..`.", field="spec")
        words = (*inside, *(mount.source for mount in mounts), *spec.files, spec.hostname)
        if any("\0" in word for word in (*words, spec.gateway or "")):
            raise Invalid("A path has a NUL in it.", field="spec")

    @contextlib.contextmanager
    def _uid_for(self, spec: Spec) -> Generator[int]:
        if self._uids is None:
            yield os.geteuid()
        elif spec.writable:
            yield self._uids.range.first
        else:
            uid = self._uids.take()
            try:
                yield uid
            finally:
                self._uids.give_back(uid)

    def _hand_over(self, spec: Spec, uid: int) -> None:
        if self._uids is None:
            return
        try:
            for mount in spec.writable:
                os.chown(mount.source, uid, uid, follow_symlinks=False)
            if spec.gateway is not None:
                os.chown(spec.gateway, uid, uid, follow_symlinks=False)
                Path(spec.gateway).chmod(0o700)
        except OSError as error:
            raise SandboxUnsupported(f"A directory could not be handed over: {error}.") from error

    async def _launch(self, spec: Spec, uid: int) -> BubblewrapSandbox:
        """Start it, and end it again if we are cancelled meanwhile."""
        starting = asyncio.ensure_future(self._start(spec, uid))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _to_the_end(_undo(starting))
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


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Await `work` to its end even if we are cancelled meanwhile, and only then be cancelled."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled
