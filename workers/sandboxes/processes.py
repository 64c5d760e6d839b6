"""The two processes of a sandbox that the host knows: bubblewrap outside, and pid 1 inside.

When pid 1 is gone the kernel has ended everything else in its pid namespace, so these two being
gone means that nothing of the sandbox runs, whatever its programs did to hide.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path

STOPPED = (b"T", b"t", b"Z", b"X")
MAX_PASSES = 50


class Life:
    """Watches bubblewrap, and from `watch_inside` on pid 1, through descriptors that cannot be
    confused with other processes when a pid is used again.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._outside: int | None = os.pidfd_open(process.pid)
        self._inside: int | None = None
        self._inside_gone = False
        self.ended = asyncio.Event()
        self.gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._outside, self._outside_ended)

    def watch_inside(self, pid: int) -> None:
        """Raises ProcessLookupError if it is gone already, and reaped."""
        self._inside = os.pidfd_open(pid)
        self.gone.clear()  # bubblewrap may have ended before we heard of it, which is then ours
        asyncio.get_running_loop().add_reader(self._inside, self._inside_ended)

    @property
    def status(self) -> int:
        """How bubblewrap ended, as subprocess says it. Only after `ended`."""
        return self._process.wait()

    def kill(self) -> None:
        """End all of it, now. Harmless when repeated."""
        if self._inside is not None and not self._inside_gone:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._inside, signal.SIGKILL)
        elif not self.ended.is_set():
            self._process.kill()

    def close(self) -> None:
        """Forget both; they must be gone."""
        for descriptor in (self._outside, self._inside):
            if descriptor is not None:
                asyncio.get_running_loop().remove_reader(descriptor)
                os.close(descriptor)
        self._outside = self._inside = None

    def _outside_ended(self) -> None:
        assert self._outside is not None
        asyncio.get_running_loop().remove_reader(self._outside)
        self._process.wait()
        self.ended.set()
        self.kill()  # bubblewrap ends with the program; what that left behind goes too
        self._settle()

    def _inside_ended(self) -> None:
        assert self._inside is not None
        asyncio.get_running_loop().remove_reader(self._inside)
        self._inside_gone = True
        self._settle()

    def _settle(self) -> None:
        if not self.ended.is_set() or (self._inside is not None and not self._inside_gone):
            return
        if self._inside is not None:
            # Ours to reap if bubblewrap ended first; otherwise it has done so.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, self._inside, os.WEXITED | os.WNOHANG)
        self.gone.set()


def user_ids(pid: int) -> set[int]:
    """The real, effective, saved and file system uid of a process. Raises FileNotFoundError."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("Uid:"):
            return set(map(int, line.split()[1:]))
    return set()


def open_inside(inside: int, paths: list[str]) -> list[int]:
    """Open directories of the sandbox whose pid 1 is `inside`. Raises OSError.

    One name at a time, without following links out of it.
    """
    handles: list[int] = []
    root = os.open(f"/proc/{inside}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        handles.extend(_open_below(root, path) for path in paths)
    except OSError:
        for handle in handles:
            os.close(handle)
        raise
    finally:
        os.close(root)
    return handles


def _open_below(root: int, path: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    here = os.dup(root)
    for name in Path(path).parts[1:]:
        try:
            below = os.open(name, flags, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def members(inside: int) -> list[int]:
    """The pids of everything in the pid namespace of its pid 1, `inside`, but that one."""
    namespace = _pid_namespace(inside)
    if namespace is None:
        return []
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if pid != inside and _pid_namespace(pid) == namespace]


def stop_all(inside: int) -> bool:
    """Stop every process in the pid namespace of `inside`, but not its pid 1.

    Looks again until it finds none running, since a running one may start others meanwhile. False
    if that does not end (a fork bomb can be faster).
    """
    for _ in range(MAX_PASSES):
        running = [pid for pid in members(inside) if not _is_stopped(pid)]
        if not running:
            return True
        _signal(running, signal.SIGSTOP)
    return False


def continue_all(inside: int) -> None:
    """Undo stop_all."""
    _signal(members(inside), signal.SIGCONT)


def _pid_namespace(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None  # gone, or somebody else's


def _is_stopped(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status[0] in STOPPED


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
