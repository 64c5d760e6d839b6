"""Sandboxes for runs: opened ahead where that can be, else when one is asked for.

In a sandbox that was opened ahead the harness's program runs already and waits for a task; nothing
of any agent is in it. A run takes it, shows it the agent's source, and tells it the task. Each
serves one run and is never used again.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client import Counter, Gauge

from adapters.scratch import disk_work, scratch_directory
from domain.errors import Unavailable
from workers.harnesses.harness import Launch
from workers.programs import Program
from workers.sandboxes.arguments import check_environment
from workers.sandboxes.driver import Driver, Mount, Sandbox, Spec
from workers.trimming import is_layer, layer_held

SOURCE = "/app"  # where agents' source is inside

# Whoever takes a sandbox needs the processors more than the one that replaces it.
REST_SECONDS = 0.05
FORGET_SECONDS = 900.0  # a kind of sandbox that nobody asked for
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
LINKED_AT_ONCE = 32  # files; linking more takes longer than handing it to a thread

TAKEN = Counter("argosy_pool_taken_total", "Sandboxes that runs took, warm or cold.", ["found"])
READY = Gauge("argosy_pool_ready", "Sandboxes that wait for runs.")

log = structlog.stdlib.get_logger(__name__)


class Place(Struct, frozen=True, kw_only=True):
    """An open sandbox, and the directories of the host that it shows.

    gateway: empty; what it finds at /run/argosy.
    source: empty, shown at SOURCE; None where the source is shown as it is.
    program: waits for a task; None where none was started yet.
    """

    sandbox: Sandbox
    gateway: Path
    source: Path | None = None
    program: Program | None = None
    close: AsyncExitStack

    @property
    def waits(self) -> bool:
        """Whether a program waits in it, as it should."""
        return self.program is not None and self.program.is_silent

    def start(self, launch: Launch) -> Program:
        """Start the program, or tell the one that waits its task. To be called once.

        Raises Invalid for an environment that cannot be passed, now or by `Program.output`.
        """
        if self.program is not None:
            check_environment(launch.environment)
            self.program.tell(launch)
            return self.program
        program = Program(self.sandbox, launch)
        self.close.push_async_callback(program.close)
        return program


class Kind(Struct, frozen=True):
    """What one run's sandbox must have in common with another's, to be opened ahead of it."""

    spec: Spec
    launch: Launch

    @property
    def key(self) -> bytes:
        """The same for kinds that are the same."""
        return msgspec.json.encode((self.spec, self.launch.argv, self.launch.early))


class Pool:
    """The sandboxes of one run host, opened by `driver`. `size`: how many are kept; 0 for none."""

    def __init__(self, driver: Driver, folder: Path, size: int) -> None:
        self.size = size
        self.driver = driver
        self._folder = folder
        self._kinds: dict[bytes, tuple[Kind, float]] = {}  # the one asked for last comes last
        self._ready: dict[bytes, deque[Place]] = {}
        self._changed = asyncio.Event()
        READY.set_function(lambda: self.ready)

    @property
    def ready(self) -> int:
        """How many wait for a run now."""
        return sum(map(len, self._ready.values()))

    def expect(self, spec: Spec, launch: Launch) -> bytes | None:
        """Have sandboxes of this kind ready from now on, until others are asked for.

        Returns the kind's key; None where none are opened ahead.
        """
        if not self.size or launch.early is None:
            return None
        kind = Kind(spec, launch)
        key = kind.key
        self._kinds.pop(key, None)
        self._kinds[key] = (kind, time.monotonic())
        self._changed.set()
        return key

    @asynccontextmanager
    async def open(
        self, spec: Spec, launch: Launch, source: Path | None
    ) -> AsyncGenerator[tuple[Place, bool]]:
        """A sandbox for one run, destroyed on leaving, and whether it was opened ahead.

        spec: without the gateway, the launch's environment and the source, which is `source`.
        Raises SandboxUnsupported, and Unavailable where the disk fails.
        """
        key = self.expect(spec, launch)
        place = None if key is None else self._take(key)
        warm = place is not None
        if place is None:
            mounts = () if source is None else (Mount(str(source), SOURCE),)
            place = await self._open(replace(spec, layers=(*spec.layers, *mounts)))
        TAKEN.labels("warm" if warm else "cold").inc()
        async with place.close:
            if warm and source is not None and place.source is not None:
                await _show(source, place.source)
            yield place, warm

    async def keep(self) -> None:
        """Open sandboxes ahead and close those that nobody will ask for, for ever."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            self._forget()
            while (place := self._surplus()) is not None:
                await place.close.aclose()
            kind = self._lacking()
            if kind is None:
                await self._change()
                continue
            try:
                place = await self._open_ahead(kind)
            except Unavailable as error:
                log.warning("pool.cannot_open", error=error.detail, again_in=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                pause = FIRST_PAUSE_SECONDS
                self._ready.setdefault(kind.key, deque()).append(place)

    async def close(self) -> None:
        """Destroy all that wait. Nothing may be taken or kept any more."""
        waiting = [place for places in self._ready.values() for place in places]
        self._ready.clear()
        await asyncio.gather(*(place.close.aclose() for place in waiting))

    def _take(self, key: bytes) -> Place | None:
        places = self._ready.get(key, [])
        for place in places:
            if place.waits:
                places.remove(place)
                return place
        return None

    def _lacking(self) -> Kind | None:
        """A kind of which there are too few."""
        for key, count in self._shares().items():
            if len(self._ready.get(key, ())) < count:
                return self._kinds[key][0]
        return None

    def _shares(self) -> Mapping[bytes, int]:
        return shares(self.size, list(reversed(self._kinds)))

    def _forget(self) -> None:
        now = time.monotonic()
        for key, (_, asked) in list(self._kinds.items()):
            if now - asked > FORGET_SECONDS and len(self._kinds) > 1:
                del self._kinds[key]

    def _surplus(self) -> Place | None:
        """Remove and return one that died, or is of a kind of which there are too many."""
        wanted = self._shares()
        for key, places in self._ready.items():
            for place in places:
                if not place.waits or len(places) > wanted.get(key, 0):
                    places.remove(place)
                    return place
        return None

    async def _change(self) -> None:
        """Return some time after something was taken or died, or when it is time to forget."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FORGET_SECONDS / 4):
                await self._changed.wait()
        await asyncio.sleep(REST_SECONDS)
        self._changed.clear()

    async def _open_ahead(self, kind: Kind) -> Place:
        place = await self._open(kind.spec, hollow=True)
        program = Program(place.sandbox, kind.launch, waits=True)
        program.when_heard(self._changed.set)
        place.close.push_async_callback(program.close)
        return replace(place, program=program)

    async def _open(self, spec: Spec, *, hollow: bool = False) -> Place:
        """Open a sandbox; with `hollow`, one that shows an empty directory for a source."""
        async with AsyncExitStack() as stack:
            with disk_work("Making a run's directories"):
                self._folder.mkdir(parents=True, exist_ok=True)
                self._folder.chmod(0o755)  # for the sandboxes' uids, whatever our umask is
                folder = stack.enter_context(scratch_directory(self._folder))
                folder.chmod(0o711)
                gateway, source = folder / "gateway", folder / "source"
                gateway.mkdir(mode=0o700)
                if hollow:
                    source.mkdir()
                    source.chmod(0o755)
            if hollow:
                spec = replace(spec, layers=(*spec.layers, Mount(str(source), SOURCE)))
            _hold_layers(spec, stack)
            spec = replace(spec, gateway=str(gateway))
            sandbox = await stack.enter_async_context(self.driver.open(spec))
            return Place(
                sandbox=sandbox,
                gateway=gateway,
                source=source if hollow else None,
                close=stack.pop_all(),
            )
        raise AssertionError


def _hold_layers(spec: Spec, stack: AsyncExitStack) -> None:
    """Keep the layers that a sandbox shows: one that is removed would be empty inside."""
    with disk_work("Holding a sandbox's layers"):
        sources = [Path(mount.source) for mount in spec.layers]
        for path in {place for source in sources for place in (source, *source.parents)}:
            if is_layer(path):
                stack.enter_context(layer_held(path))


def shares(size: int, kinds: Sequence[bytes]) -> Mapping[bytes, int]:
    """Return how many of each kind are kept, the kind that was asked for last first."""
    kept: dict[bytes, int] = {}
    for number in range(size if kinds else 0):
        key = kinds[number % len(kinds)]
        kept[key] = kept.get(key, 0) + 1
    return kept


async def _show(layer: Path, place: Path) -> None:
    """Make the files of a layer appear in a directory that a sandbox shows read-only already."""
    with disk_work("Showing the source"):
        tree = list(os.walk(layer))
        if sum(len(names) for _, _, names in tree) > LINKED_AT_ONCE:
            await asyncio.to_thread(_link, tree, layer, place)
        else:
            _link(tree, layer, place)


def _link(tree: Sequence[tuple[str, list[str], list[str]]], layer: Path, place: Path) -> None:
    for folder, folders, names in tree:
        below = place / Path(folder).relative_to(layer)
        for name in folders:
            (below / name).mkdir()
            (below / name).chmod(0o755)
        for name in names:
            os.link(Path(folder, name), below / name)
