"""Kills builders at random moments: `python -m tests.builder_kills --kills 50 --seed N`.

Each time a version that needs a layer of its own is deployed, and its build worker is killed
(SIGKILL) somewhere between the claim and the end. Then every build has to have succeeded, every
version to run with the packages it asked for, and nothing to be left.
"""

import argparse
import asyncio
import random
import sys
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import psutil
from msgspec import Struct
from msgspec.structs import replace

from adapters import telemetry
from adapters.scratch import remove_tree
from adapters.settings import Settings
from domain.builds import BuildClaimed, BuildEnded, BuildRetried
from tests.chaos.leftovers import Machine, groups_of
from tests.redis_server import RedisServer, make_directory
from tests.workers.packages import make_wheel
from tests.workers.worlds import Process, World, hosting, make_settings, open_world
from workers.layers import LayerCache
from workers.sandboxes.cgroups import detect
from workers.sandboxes.namespaces import PLACE
from workers.sandboxes.orphans import sweep_orphans
from workers.sweeping import sweep_folders
from workers.workshops import cache_directory

FILES = 300  # of each package, so that installing and packing them takes a while
FIRST = 2  # builds that nobody disturbs
MOST_SECONDS = 60.0


class Report(Struct):
    """What came of it. The moments are seconds after the claim; `missed` kills came too late."""

    moments: list[float] = []
    missed: int = 0
    retried: int = 0
    wrong: list[str] = []


class Killer:
    """Deploys, kills and looks, on one installation with one build worker at a time."""

    def __init__(self, world: World, settings: Settings, chance: random.Random) -> None:
        self._world = world
        self._settings = settings
        self._wheels = settings.data / "wheels"
        self._chance = chance
        self._seconds = 0.0  # what an undisturbed build takes
        self._worker: Process | None = None
        self._seen: list[psutil.Process] = []
        self.report = Report()

    async def run(self, kills: int) -> Report:
        """Kill so often, then check everything."""
        before = Machine.now()
        for number in range(FIRST):  # the very first one also makes what all others have
            await self._undisturbed(number)
        for number in range(FIRST, kills + FIRST):
            await self._disturbed(number)
        await self.close()
        await self._check_runs(kills + FIRST)
        await self._check_left(before)
        return self.report

    async def close(self) -> None:
        """Stop the worker there is."""
        if self._worker is not None:
            await self._worker.stop()

    async def _undisturbed(self, number: int) -> None:
        build_id = await self._deploy(number)
        await self._start()
        await self._claimed(build_id)
        began = time.monotonic()
        await self._succeeded(build_id)
        self._seconds = time.monotonic() - began

    async def _disturbed(self, number: int) -> None:
        build_id = await self._deploy(number)
        await self._start()
        await self._claimed(build_id)
        moment = self._chance.uniform(0, self._seconds)
        await asyncio.sleep(moment)  # the moment is what is tried, not what is waited for
        self.report.moments.append(moment)
        await self._kill()
        await self._start()
        end = await self._succeeded(build_id)
        retries = await self._world.until_all(f"build-{build_id}", BuildRetried, 0)
        self.report.retried += len(retries)
        self.report.missed += end.attempt == 1

    async def _deploy(self, number: int) -> str:
        """Deploy what needs a package that nobody has installed yet."""
        name = f"greeting{number}"
        files = {f"{name}/part{part}.py": f"VALUE = {part}\n" for part in range(FILES)}
        files[f"{name}/__init__.py"] = (
            f"import importlib\nVALUES = [importlib.import_module(f'{name}.part{{n}}').VALUE"
            f" for n in range({FILES})]\n"
        )
        make_wheel(self._wheels, name, "1.0", files)
        source = {"agent.py": f"import {name}\nprint(sum({name}.VALUES))\n"}
        deployed = await self._world.deploy(
            source, name=f"agent{number}", requirements=f"{name}==1.0\n"
        )
        return deployed.build_id

    async def _start(self) -> None:
        """Have a living build worker."""
        if self._worker is None or self._worker.process.poll() is not None:
            self._worker = Process("build", self._settings)
            await self._worker.ready()

    async def _kill(self) -> None:
        """Kill the worker, noting what it had started."""
        assert self._worker is not None
        worker = psutil.Process(self._worker.pid)
        self._seen += [worker, *worker.children(recursive=True)]
        await self._worker.kill()

    async def _claimed(self, build_id: str) -> None:
        await self._world.until_all(f"build-{build_id}", BuildClaimed, 1, MOST_SECONDS)

    async def _succeeded(self, build_id: str) -> BuildEnded:
        (end,) = await self._world.until_all(f"build-{build_id}", BuildEnded, 1, MOST_SECONDS)
        if end.how != "succeeded":
            self.report.wrong.append(f"build {build_id} {end.how}: {end.step}: {end.detail}")
        return end

    async def _check_runs(self, count: int) -> None:
        expected = str(sum(range(FILES)))
        for number in range(count):
            run = await self._world.request(name=f"agent{number}")
            end = await self._world.ended(run)
            if (end.how, end.output) != ("completed", expected):
                self.report.wrong.append(f"run of agent{number} {end.how}: {end.detail}")

    async def _check_left(self, before: Machine) -> None:
        """Sweep once, as workers do, and look for what is left."""
        layers = LayerCache(cache_directory(self._settings), self._world.services.blobs)
        await sweep_folders(self._world.services.blobs, layers)
        await sweep_orphans(detect(self._settings.cgroups))
        data = self._settings.data
        scratches = [path for path in data.rglob("scratch") if path.is_dir()]
        left = [str(path) for folder in scratches for path in folder.iterdir()]
        mounts = [  # whatever others have mounted on this machine meanwhile
            place
            for place in sorted(Machine.now().mounts - before.mounts)
            if any(Path(place).is_relative_to(ours) for ours in (data, PLACE))
        ]
        groups = groups_of({process.pid for process in self._seen})
        alive = [process.pid for process in self._seen if _is_alive(process)]
        for what, found in {
            "scratch": left,
            "mounts": mounts,
            "control groups": groups,
            "processes": alive,
        }.items():
            if found:
                self.report.wrong.append(f"{what} left: {found}")


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


async def kill_builders(redis: str, *, kills: int, seed: int) -> Report:
    """Do it on an installation of its own."""
    with make_settings(redis) as made:
        wheels = made.data / "wheels"
        wheels.mkdir()
        settings = replace(made, package_index=str(wheels))
        async with AsyncExitStack() as stack:
            world = await stack.enter_async_context(open_world(settings))
            await stack.enter_async_context(hosting(world))
            killer = Killer(world, settings, random.Random(seed))
            stack.push_async_callback(killer.close)
            return await killer.run(kills)


def main() -> int:
    """Kill as often as asked; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.builder_kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    telemetry.configure("test", "text", "error")
    directory = make_directory()
    server = RedisServer(directory)
    try:
        report = asyncio.run(kill_builders(server.url, kills=given.kills, seed=given.seed))
    finally:
        server.stop()
        remove_tree(directory)
    return tell(report)


def tell(report: Report) -> int:
    """Print what came of it."""
    spread = ", ".join(f"{moment:.2f}" for moment in sorted(report.moments))
    sys.stdout.write(
        f"{len(report.moments)} kills at {spread} s after the claim; {report.missed} came after the"
        f" end, {report.retried} builds were taken over\n"
    )
    for line in report.wrong:
        sys.stdout.write(f"WRONG  {line}\n")
    sys.stdout.write(f"{'ok' if not report.wrong else 'failed'}\n")
    return int(bool(report.wrong))


if __name__ == "__main__":
    sys.exit(main())
