"""Contract of a sandbox's limits: bombs, hogs and fillers hurt only themselves, and are ended."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import cast

import pytest

from tests.contracts.sandboxes import (
    BACKENDS,
    DISK_MB,
    MEMORY_MB,
    PATIENCE,
    SECONDS,
    TMP_MB,
    Machine,
    machine,
    outcome,
    spec,
)
from workers.sandboxes.driver import Output

FILL = """
import errno, os, sys
def fill(directory):
    written = 0
    try:
        for number in range(8):
            with open(f"{directory}/fill-{number}", "wb", buffering=0) as file:
                while True:
                    written += file.write(bytes(1 << 20))
    except OSError as error:
        return f"{written >> 20} {errno.errorcode[error.errno]}"
for directory in sys.argv[1:]:
    print(directory, fill(directory), flush=True)
"""


@pytest.fixture(params=BACKENDS)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    with machine(request.param) as found:
        yield found


async def test_a_memory_hog_is_stopped_alone_and_the_reason_is_known(here: Machine) -> None:
    hog = "print('up', flush=True); kept = []\nwhile True: kept.append(bytearray(1 << 20))"
    neighbour, done = await asyncio.gather(
        here.run("import time; time.sleep(0.5); print('fine')"), here.run(hog)
    )

    assert neighbour.stdout == b"fine\n"
    assert done.stdout == b"up\n"
    if not here.limits_hold_for_all:  # each process by itself: it is told so, and not ended
        assert b"MemoryError" in done.stderr
        assert done.exit.code == 1
    else:
        assert done.exit.out_of_memory
        assert done.exit.signal == 9
        assert done.exit.peak_memory_mb == pytest.approx(MEMORY_MB, rel=0.05)


async def test_many_processes_together_get_no_more_memory(here: Machine) -> None:
    if not here.limits_hold_for_all:
        pytest.skip("without cgroups memory is limited for each process by itself")
    code = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        kept = bytearray(40 << 20)
        time.sleep(60)
time.sleep(60)
"""
    async with here.driver.open(spec()) as sandbox, asyncio.timeout(SECONDS):
        run = outcome(sandbox.run(here.python(code)))
        task = asyncio.create_task(run)
        group = sandbox.group
        assert group is not None
        while not group.usage().memory_kills:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await sandbox.kill()
        done = await task

    assert done.exit.out_of_memory


async def test_memory_files_count_as_memory(here: Machine) -> None:
    if not here.limits_hold_for_all:
        pytest.skip("without cgroups memory is limited for each process by itself")
    done = await here.run(
        "import os; fd = os.memfd_create('x')\nwhile True: os.write(fd, bytes(1 << 20))"
    )

    assert done.exit.out_of_memory


async def test_a_fork_bomb_is_held_and_cleared_away(here: Machine) -> None:
    code = """
import os, time
print("up", flush=True)
refused = 0
while refused < 1000:
    try:
        if os.fork() == 0:
            refused = 0
    except BlockingIOError:
        refused += 1
time.sleep(60)
"""
    async with here.driver.open(spec(pids=32, cpu=0.5)) as sandbox, asyncio.timeout(SECONDS):
        run = sandbox.run(here.python(code))
        await anext(run)
        while len(here.members(sandbox)) < 32:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        alive = len(here.members(sandbox))
        started = time.monotonic()
        await sandbox.kill()
        took = time.monotonic() - started
        await run.aclose()

    assert alive == 32
    assert took < 2 * PATIENCE


async def test_threads_count_too(here: Machine) -> None:
    code = """
import threading, time
threading.stack_size(65536)
started = 0
try:
    for _ in range(200):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        started += 1
except RuntimeError:
    print(started, flush=True)
    import os
    os._exit(0)
"""
    done = await here.run(code, pids=16)

    assert done.stdout == b"15\n"


async def test_every_writable_place_has_its_size(here: Machine) -> None:
    places = {"/work": DISK_MB, "/tmp": TMP_MB, "/dev/shm": TMP_MB}
    done = await here.run("", argv=[*here.python(FILL), *places])

    assert done.stdout.decode().splitlines() == [
        f"{place} {size} ENOSPC" for place, size in places.items()
    ]
    assert done.exit.code == 0


async def test_nothing_else_can_be_filled(here: Machine) -> None:
    """Every mount of the sandbox is tried, and the directories between them."""
    code = """
import os
places = {line.split()[4] for line in open("/proc/self/mountinfo")} | {"/dev/pts", "/etc", "/run"}
writable = []
for place in sorted(places):
    try:
        os.close(os.open(place + "/x", os.O_CREAT | os.O_WRONLY))
        writable.append(place)
    except OSError:
        pass
print(writable)
"""
    done = await here.run(code)

    assert done.stdout == b"['/dev/shm', '/tmp', '/work']\n"


@pytest.mark.parametrize("place", ["/work", "/tmp", "/dev/shm"])
async def test_endless_empty_files_are_stopped(here: Machine, place: str) -> None:
    """They take memory of the kernel, which a tmpfs does not count against its size."""
    code = """
import os, sys
number = 0
while True:
    os.close(os.open(f"{sys.argv[1]}/{number:x}", os.O_CREAT | os.O_WRONLY))
    number += 1
"""
    done = await here.run("", argv=[*here.python(code), place], memory_mb=48)

    assert done.exit.signal == 9
    if here.limits_hold_for_all:
        assert done.exit.out_of_memory


async def test_cpu_is_rationed(here: Machine) -> None:
    if not here.limits_hold_for_all:
        pytest.skip("without cgroups cpu is not limited")
    code = """
import time
end, before = time.monotonic() + 0.6, time.process_time()
while time.monotonic() < end:
    pass
print(time.process_time() - before)
"""
    done = await here.run(code, cpu=0.2)

    used = float(done.stdout)
    assert used < 0.3
    assert done.exit.cpu_seconds is not None
    assert done.exit.cpu_seconds >= used


async def test_daemons_that_hide_and_ignore_signals_are_gone(here: Machine) -> None:
    """Double fork, own session, all signals ignored, output kept open: gone with the program."""
    code = """
import os, signal, sys, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        print("daemon", flush=True)
        time.sleep(600)
while sys.stdin.readline() != "end\\n":
    pass
"""
    async with here.driver.open(spec()) as sandbox, asyncio.timeout(SECONDS):
        run = sandbox.run(here.python(code), keep_stdin=True)
        said = b""
        while said.count(b"daemon") < 3:
            said += cast("Output", await anext(run)).data
        hidden = here.members(sandbox)
        await sandbox.write(b"end\n")
        done = await outcome(run)
        alive = here.members(sandbox)

    assert len(hidden) >= 4
    assert done.exit.code == 0
    assert alive == []
