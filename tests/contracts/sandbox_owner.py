"""A worker in a process of its own, to be killed by a test: opens a sandbox and says its name.

Arguments: the back end (`cgroups`, `none`, or the URL of a container engine), then directories to
prepare. With directories it lists the first one from inside a sandbox instead, and ends.
"""

import asyncio
import os
import sys
from pathlib import Path

from tests.contracts.sandboxes import UIDS, outcome, spec
from workers.sandboxes import cgroups
from workers.sandboxes.bases import find_base
from workers.sandboxes.bubblewrap import BubblewrapDriver
from workers.sandboxes.container import ContainerDriver
from workers.sandboxes.container_engine import find_engine
from workers.sandboxes.driver import Mount
from workers.sandboxes.drivers import choose, find_bubblewrap, prepare
from workers.sandboxes.namespaces import Paths
from workers.sandboxes.uids import Uids

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"


async def hold(backend: str) -> None:
    driver = driver_on(backend)
    async with driver.open(spec()) as sandbox:
        async for _ in sandbox.run([find_base().python, "-I", "-S", "-c", SLEEPER]):
            sys.stdout.write(f"{sandbox.id} {sandbox.inside}\n")
            sys.stdout.flush()


def driver_on(backend: str) -> BubblewrapDriver | ContainerDriver:
    uids = Uids(UIDS) if os.geteuid() == 0 else None
    if uids is not None and "://" in backend:
        return ContainerDriver(find_engine(backend), uids=uids)
    groups = cgroups.detect() if backend == "cgroups" else None
    return BubblewrapDriver(find_bubblewrap(), cgroups=groups, uids=uids, paths=Paths())


async def show(paths: Paths, directory: str) -> None:
    driver = choose(paths)
    layers = (*find_base().layers, Mount(directory, "/shown"))
    async with driver.open(spec(layers=layers)) as sandbox:
        done = await outcome(sandbox.run(["/bin/cat", "/shown/file"]))
    sys.stdout.buffer.write(done.stdout + done.stderr)


def main(backend: str, *directories: str) -> None:
    if directories:
        paths = prepare(map(Path, directories))
        asyncio.run(show(paths, directories[0]))
    else:
        asyncio.run(hold(backend))


if __name__ == "__main__":
    main(*sys.argv[1:])
