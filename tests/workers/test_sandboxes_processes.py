"""The two processes of a sandbox are watched to their ends, in whatever order those come."""

import asyncio
import subprocess
from pathlib import Path

from workers.sandboxes.kernel import adopt_orphans
from workers.sandboxes.processes import Life

LEAVES_A_CHILD = "sleep 600 >/dev/null 2>&1 & echo $!"


async def test_a_child_we_hear_of_after_its_parents_end_is_ended_and_reaped() -> None:
    adopt_orphans()
    process, inside = _start()
    life = Life(process)
    async with asyncio.timeout(20):
        await life.gone.wait()
        life.watch_inside(inside)
        assert not life.gone.is_set()
        life.kill()
        await life.gone.wait()
    life.close()

    assert inside not in _processes()


def _start() -> tuple[subprocess.Popen[bytes], int]:
    process = subprocess.Popen(["sh", "-c", LEAVES_A_CHILD], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        return process, int(process.stdout.readline())


def _processes() -> set[int]:
    return {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
