"""Starting, ending and reaping the dev server's processes; everything a child leaves is ended."""

import contextlib
import ctypes
import math
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

LEASH = Path(__file__).with_name("leash.py")
PR_SET_CHILD_SUBREAPER = 36
FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 10.0
STEADY_SECONDS = 10.0  # a child that lived this long has earned the first delay again
END_SECONDS = 5.0
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child:
    """One process of the dev server, and when to start it again (`once`: never)."""

    def __init__(self, name: str, command: Sequence[str], log: Path, *, once: bool = False) -> None:
        self.name = name
        self.log = log
        self.once = once
        self.pid: int | None = None
        self.deaths = 0
        self.code = 0
        self._command = command
        self._started = time.monotonic()
        self._delay = 0.0
        self.due = 0.0

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it, in a session of its own: Ctrl-C reaches the supervisor only."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *self._command],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE],
        )
        self._started = time.monotonic()

    def died(self, code: int) -> float:
        """Note its death; returns in how many seconds it is due again. Ends what it left."""
        assert self.pid is not None
        self.code = code
        end_session(self.pid)
        self.pid = None
        self.deaths += 1
        now = time.monotonic()
        if now - self._started > STEADY_SECONDS:
            self._delay = 0.0
        self._delay = min(max(FIRST_DELAY_SECONDS, self._delay * 2), LONGEST_DELAY_SECONDS)
        self.due = math.inf if self.once else now + self._delay
        return self._delay

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def last_lines(self, most: int = 8) -> list[str]:
        """Return the end of its log."""
        try:
            return self.log.read_text(errors="replace").splitlines()[-most:]
        except OSError:
            return []


class Signals:
    """Waits for what the kernel says: a child's death, or somebody who asks for the end."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *STOPPING):
            signal.signal(number, _noted)

    def stop_within(self, seconds: float | None) -> bool:
        """Return at the first signal or after `seconds` (None: never); whether it asks to stop."""
        ready, _, _ = select.select([self._read], [], [], seconds)
        said = os.read(self._read, 4096) if ready else b""
        return any(number in said for number in STOPPING)


def adopt_orphans() -> None:
    """Become the parent of what children leave behind (Linux), so that it can be ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reaped() -> Iterator[tuple[int, int]]:
    """Yield process id and exit code (negative: the signal) of all children that have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def end_session(leader: int) -> None:
    """Kill what a child left of its session: RQ's forked worker outlives the one that forked it."""
    for process in _processes():
        if process.session == leader:
            _kill(process.pid)


def end_descendants() -> None:
    """Kill every process below this one, whoever started it, and reap it."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        for _ in reaped():
            pass
        left = [process.pid for process in _processes() if process.parent == os.getpid()]
        if not left:
            return
        for pid in left:
            _kill(pid)
        time.sleep(0.01)


def _noted(number: int, frame: FrameType | None) -> None:
    """Do nothing: that there was a signal is read from the pipe."""


class _Process(NamedTuple):
    pid: int
    parent: int
    session: int


def _processes() -> Iterator[_Process]:
    """Yield what runs on this machine, as Linux tells it; nothing elsewhere."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "stat").read_bytes()
        except OSError:
            continue
        # The name is in parentheses and may hold anything, closing ones included.
        state, parent, _, session, *_ = told[told.rindex(b")") + 2 :].split()
        if state != b"Z":
            yield _Process(int(folder.name), int(parent), int(session))


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
