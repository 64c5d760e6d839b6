"""How long until the first command of a fresh sandbox speaks, against bare bubblewrap.

Both show the same directories and start the same program. Bare bubblewrap is what one would type:
no uid of its own, no limits, no filter on system calls, no files to collect afterwards.
"""

import asyncio
import statistics
import subprocess
import time

from workers.sandboxes.bases import Base, find_base
from workers.sandboxes.driver import Driver, Output, Spec
from workers.sandboxes.drivers import choose, find_bubblewrap

ROUNDS = 40
AIM = 1.3
BWRAP = find_bubblewrap()
PROGRAMS = {
    "python": ["-I", "-S", "-c", "print('ready')"],
    "echo": ["ready"],
}


def main() -> int:
    """Print a line for each program: name, ratio, aim, ok or short. Always 0: it only measures."""
    asyncio.run(_measure_all())
    return 0


async def _measure_all() -> None:
    base, driver = find_base(), choose()
    programs = {"python": base.python, "echo": "/bin/echo"}
    for name, arguments in PROGRAMS.items():
        argv = [programs[name], *arguments]
        bare: list[float] = []
        ours: list[float] = []
        for _ in range(ROUNDS):  # alternating, so that both meet the same moods of the machine
            bare.append(_bare(base, argv))
            ours.append(await _ours(driver, base, argv))
        ratio = statistics.median(ours) / statistics.median(bare)
        print(
            f"sandbox-open-{name} {ratio:.2f} {AIM} {'ok' if ratio <= AIM else 'short'}"
            f"  # {statistics.median(ours) * 1e3:.1f} ms, bare {statistics.median(bare) * 1e3:.1f}"
        )


async def _ours(driver: Driver, base: Base, argv: list[str]) -> float:
    spec = Spec(
        layers=base.layers,
        symlinks=base.symlinks,
        hidden=base.hidden,
        files=base.files,
        scope=driver.scope,
        channel=True,
    )
    started = time.perf_counter()
    async with driver.open(spec) as sandbox:
        async for item in sandbox.run(argv):
            if isinstance(item, Output):
                return time.perf_counter() - started
    raise AssertionError("the program said nothing")


def _bare(base: Base, argv: list[str]) -> float:
    command = [BWRAP, "--unshare-all", "--die-with-parent"]
    for layer in base.layers:
        command += ["--ro-bind", layer.source, layer.target]
    for link in base.symlinks:
        command += ["--symlink", link.target, link.path]
    command += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/work"]
    started = time.perf_counter()
    with subprocess.Popen([*command, "--chdir", "/work", *argv], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        took = time.perf_counter() - started
        process.stdout.read()
    return took
