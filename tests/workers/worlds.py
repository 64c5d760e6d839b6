"""What the workers' tests share: a log, a queue, real sandboxes, and agents to run in them."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import asdict, replace

from adapters.bases import find_base
from adapters.scratch import remove_tree
from adapters.settings import Concealed, Settings
from adapters.wiring import Services, open_services
from domain.catalog import Spec
from domain.decider import Recorded
from domain.deploying import Deploy, Deployed, deploy
from domain.deployments import Settings as RevisionSettings
from domain.documents import Applied, Kind, apply_document, delete_document
from domain.execution import (
    ConfigurationDefinition,
    Definition,
    ImageDefinition,
    SourceDefinition,
)
from domain.handling import Unit
from domain.ids import new_id, stream_name
from domain.limits import Limits
from domain.ports import Held, Meta
from domain.requesting import NewRun, request_run
from domain.runs import RUN, CancelRun, RunEnded
from domain.sources import find_entry_point
from domain.starter_kit import StarterKit, seed_starter_kit
from tests.conftest import require
from tests.stores import MASTER_KEY
from workers.dispatcher import run_dispatcher
from workers.doors import open_doors
from workers.host import RunHost
from workers.plans import Workshop
from workers.reaper import run_reaper
from workers.sandboxes.driver import SandboxUnsupported
from workers.sandboxes.drivers import choose
from workers.sandboxes.namespaces import Paths
from workers.workshops import open_workshop

ROOT = Path(__file__).resolve().parents[2]
WORKSPACE = "workspace-1"
SECONDS = 30.0
LIMITS = Limits(memory_mb=256, disk_mb=32, seconds=20, output_kb=256)
HELLO = {"agent.py": "print('hello')\n"}


async def eventually(true: Callable[[], Awaitable[object]], seconds: float = 15.0) -> None:
    """Return as soon as `true()` is."""
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110 - what is waited for is in other processes
            await asyncio.sleep(0.01)


class World:
    """One installation, seen from a client's side."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def deploy(
        self,
        files: Mapping[str, str] = HELLO,
        *,
        name: str = "echo",
        requirements: str = "",
        image: str = "",
        limits: Limits = LIMITS,
        max_attempts: int = 1,
        **settings: Any,
    ) -> Deployed:
        """Deploy source, or an image, as the API does; no files are an agent without code."""
        digests = await self.services.blobs.put_all([text.encode() for text in files.values()])
        definition: Definition = ConfigurationDefinition()
        if image:
            definition = ImageDefinition(image=image)
        elif files:
            definition = SourceDefinition(
                files=dict(zip(files, digests, strict=True)),
                entry_point=find_entry_point(files, ""),
                requirements=requirements,
            )
        wanted = Deploy(
            workspace_id=WORKSPACE,
            name=name,
            definition=definition,
            settings=RevisionSettings(limits=limits, max_attempts=max_attempts, **settings),
        )

        async def work(unit: Unit) -> Deployed:
            return await deploy(unit, wanted, find_base(), new_id)

        done = await self.services.commands.run(work, self.meta(), key=name)
        return done.value

    async def seed(self) -> None:
        """Make the starter kit."""

        async def work(unit: Unit) -> StarterKit:
            return await seed_starter_kit(unit, WORKSPACE, new_id)

        await self.services.commands.run(work, self.meta(), key="starter-kit")

    async def declare[S: Spec](self, kind: Kind[S], name: str, spec: S) -> None:
        """Declare a document, whatever the name meant before."""

        async def work(unit: Unit) -> Applied[S]:
            return await apply_document(unit, kind, WORKSPACE, name, lambda _: spec, new_id=new_id)

        await self.services.commands.run(work, self.meta(), key=name)

    async def delete[S: Spec](self, kind: Kind[S], name: str) -> None:
        """Delete a document."""

        async def work(unit: Unit) -> S:
            return await delete_document(unit, kind, WORKSPACE, name)

        await self.services.commands.run(work, self.meta(), key=name)

    async def request(self, message: str = "hello", *, name: str = "echo") -> str:
        """Request a run as the API does; returns its id."""
        run_id = new_id()
        wanted = NewRun(workspace_id=WORKSPACE, slug=name, message=message)

        async def work(unit: Unit) -> None:
            await request_run(unit, wanted, run_id)

        await self.services.commands.run(work, self.meta(), key=run_id)
        return run_id

    async def cancel(self, run_id: str, detail: str = "") -> None:
        """Ask for a run's end."""
        command = CancelRun(run_id=run_id, detail=detail)
        await self.services.commands.send(RUN, run_id, command, self.meta())

    async def history(self, run_id: str) -> list[Recorded[Any]]:
        """Return a run's stream."""
        return await self.services.store.read(stream_name("run", run_id), limit=100_000)

    async def until(self, run_id: str, type_: type, seconds: float = SECONDS) -> Any:
        """Return a run's last event of a type, as soon as there is one."""
        found = await self.until_all(stream_name("run", run_id), type_, 1, seconds)
        return found[-1]

    async def until_all(
        self, stream: str, type_: type, count: int, seconds: float = SECONDS
    ) -> list[Any]:
        """Return a stream's events of a type as soon as there are `count`."""
        deadline = time.monotonic() + seconds
        while True:
            history = await self.services.store.read(stream, limit=100_000)
            found = [each.event for each in history if isinstance(each.event, type_)]
            if len(found) >= count:
                return found
            if time.monotonic() > deadline:
                types = [each.type for each in history]
                raise AssertionError(f"no {count} {type_.__name__} in {seconds} s: {types}")
            await asyncio.sleep(0.01)

    async def ended(self, run_id: str, seconds: float = SECONDS) -> RunEnded:
        """Return how a run ended."""
        return await self.until(run_id, RunEnded, seconds)

    async def held(self, run_id: str) -> Held | None:
        """Return a run's lease."""
        return await self.services.leases.held(stream_name("run", run_id))

    def meta(self) -> Meta:
        """Return a new command's envelope."""
        return Meta(
            actor="key:test",
            workspace_id=WORKSPACE,
            command_id=new_id(),
            correlation_id=f"request-{new_id()}",
        )


@contextmanager
def make_settings(redis: str, **changes: Any) -> Generator[Settings]:
    """Settings of an installation in a directory that sandboxes can reach, removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="argosy-world-"))
    directory.chmod(0o755)
    key = directory / "master.key"
    key.write_text(MASTER_KEY)
    settings = Settings(
        data=directory,
        master_key_file=key,
        redis=redis,
        lease_seconds=2.0,
        sweep_seconds=0.1,
        drain_seconds=3.0,
        limit_scope="sandbox" if os.geteuid() == 0 else "process",
        warm_sandboxes=0,  # tests count sandboxes; those of the pool ask for some
        log_format="text",
    )
    settings = replace(settings, **changes)
    try:
        yield settings
    finally:
        remove_tree(directory)


@asynccontextmanager
async def open_world(settings: Settings) -> AsyncGenerator[World]:
    """A client's side of the installation."""
    async with open_services(settings, name="test", needs_vault=True) as services:
        yield World(services)


@asynccontextmanager
async def tending(world: World) -> AsyncGenerator[None]:
    """A dispatcher and a reaper in this process, while the block lasts."""
    async with _running(
        lambda stop: run_dispatcher(world.services, stop),
        lambda stop: run_reaper(world.services, stop),
    ):
        yield


@asynccontextmanager
async def hosting(world: World) -> AsyncGenerator[None]:
    """As `tending`, with a run host in this process."""
    async with open_doors(world.services) as doors:
        host = RunHost(world.services, workshop(world.services), doors)
        async with tending(world), _running(host.run):
            yield


@asynccontextmanager
async def _running(*loops: Callable[[asyncio.Event], Awaitable[None]]) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    tasks = [asyncio.ensure_future(loop(stop)) for loop in loops]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


def workshop(services: Services) -> Workshop:
    """This machine's workshop; skips the test where there are no sandboxes."""
    try:
        choose(Paths())
    except SandboxUnsupported as error:
        require("bwrap", error.detail)
    return open_workshop(services, Paths())


class Process:
    """`python -m workers <kind>` on an installation; ended by its pid."""

    def __init__(self, kind: str, settings: Settings, **environment: str) -> None:
        given = {
            f"ARGOSY_{name.upper()}": str(value)
            for name, value in asdict(settings).items()
            if value not in ("", Path()) and not isinstance(value, Concealed)
        }
        self.log = settings.data / f"{kind}-{new_id()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workers", kind],
                cwd=ROOT,
                env={**os.environ, **given, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self.process.pid

    async def ready(self) -> None:
        """Return when it says that it is ready."""
        deadline = time.monotonic() + SECONDS
        while "ready" not in self.said():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"it did not become ready: {self.said()}")
            await asyncio.sleep(0.01)

    def said(self) -> str:
        """Return its log."""
        return self.log.read_text(errors="replace")

    async def kill(self) -> None:
        """End it with SIGKILL."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """End it in order; returns its exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, SECONDS)


@asynccontextmanager
async def processes(settings: Settings, *kinds: str) -> AsyncGenerator[list[Process]]:
    """Start processes and wait until they are ready; whatever is left of them is ended."""
    started = [Process(kind, settings) for kind in kinds]
    try:
        for each in started:
            await each.ready()
        yield started
    finally:
        await asyncio.gather(*(each.stop() for each in started))
