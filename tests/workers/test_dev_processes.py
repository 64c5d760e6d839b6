"""The dev server's processes: on a leash, started again, and gone with everything they left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workers.dev.processes import (
    FIRST_DELAY_SECONDS,
    LEASH,
    LONGEST_DELAY_SECONDS,
    Child,
    end_session,
    reaped,
)

PYTHON = sys.executable
WAIT_SECONDS = 10.0


def until(true: Callable[[], bool], what: str) -> None:
    """Return as soon as it is true."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def lives(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Make children that are gone after the test."""
    children: list[Child] = []

    def make(*command: str) -> Child:
        child = Child("child", command, tmp_path / "child.log")
        child.start(os.environ)
        children.append(child)
        return child

    yield make
    for child in children:
        if child.pid is not None:
            end_session(child.pid)
            child.signal(signal.SIGKILL)
            os.waitpid(child.pid, 0)


def ended(child: Child) -> int:
    """Wait for a child's end and return its code, as the supervisor finds it."""
    found: dict[int, int] = {}
    assert child.pid is not None

    def gone() -> bool:
        found.update(reaped())
        return child.pid in found

    until(gone, "the child ends")
    return found[child.pid]


def test_a_child_writes_to_its_log(made: Callable[..., Child]) -> None:
    child = made(PYTHON, "-c", "import sys; print('out'); print('err', file=sys.stderr); exit(3)")

    assert ended(child) == 3
    assert child.last_lines() == ["out", "err"]
    child.died(3)


def test_a_child_does_not_hear_the_terminal(made: Callable[..., Child]) -> None:
    child = made(PYTHON, "-c", "import os; print(os.getsid(0) == os.getpid(), flush=True)")

    ended(child)
    child.died(0)

    assert child.last_lines() == ["True"]


def test_a_child_that_keeps_dying_is_started_ever_later(tmp_path: Path) -> None:
    child = Child("child", [PYTHON, "-c", "pass"], tmp_path / "log")
    delays: list[float] = []
    for _ in range(8):
        child.pid = 2**22 + 1  # nobody has it
        delays.append(child.died(1))

    assert delays[:3] == [FIRST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2, FIRST_DELAY_SECONDS * 4]
    assert delays[-1] == LONGEST_DELAY_SECONDS
    assert child.deaths == 8


def test_what_a_dead_child_leaves_is_ended(made: Callable[..., Child]) -> None:
    """RQ's worker forks; killed with -9, it leaves the fork, which would go on with the job."""
    code = "import os, time; pid = os.fork(); print(pid or '', flush=True); time.sleep(60)"
    child = made(PYTHON, "-c", code)
    until(lambda: any(line.isdigit() for line in child.last_lines()), "the fork")
    [fork] = [int(line) for line in child.last_lines() if line.isdigit()]
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    assert ended(child) == -signal.SIGKILL
    assert lives(fork)

    child.died(-9)

    until(lambda: not lives(fork), "the fork ends")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's leash is Linux's")
def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path;"
        "from workers.dev.processes import Child;"
        "child = Child('c', ['/bin/sleep', '60'], Path(sys.argv[1]));"
        "child.start(os.environ); print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [PYTHON, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the leash is on")

        supervisor.kill()

        until(lambda: not lives(pid), "the child ends")


def test_a_leash_without_its_supervisor_holds_nothing(tmp_path: Path) -> None:
    """The supervisor may die before the kernel was asked."""
    mark = tmp_path / "ran"

    done = subprocess.run(
        [PYTHON, "-I", "-S", str(LEASH), "1", "/usr/bin/touch", str(mark)],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )

    assert done.returncode == 1
    assert "is gone" in done.stderr
    assert not mark.exists()
