"""Copying what a program left behind, without ever trusting a name or a link of it.

The walk starts at an open directory handle and goes down one name at a time, each opened without
following links, so neither a link nor a rename during the walk can lead it out.
"""

import asyncio
import os
import stat
from pathlib import Path

from workers.sandboxes.driver import LeftOut, ResultFile, Results

MAX_DEPTH = 32
MAX_ENTRIES = 20_000  # looked at, whatever they are
MAX_PATH = 1024  # bytes
MAX_LEFT_OUT = 100
CHUNK = 1 << 20

# O_NONBLOCK: opening a pipe that nobody writes to must not wait.
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
OPEN_DIRECTORY = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
CREATE_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


async def collect(directory: int, into: Path, *, max_files: int, max_bytes: int) -> Results:
    """Copy from an open directory, as `copy` does, which may be closed meanwhile."""
    own = os.dup(directory)
    try:
        return await asyncio.to_thread(copy, own, into, max_files=max_files, max_bytes=max_bytes)
    finally:
        os.close(own)


def copy(directory: int, into: Path, *, max_files: int, max_bytes: int) -> Results:
    """Copy the regular files below the open `directory` into the empty directory `into`.

    Blocks; belongs in a thread. Sorted by name within each directory. Raises OSError only for
    trouble on the host's side (a full disk).
    """
    return _Copy(os.fstat(directory).st_dev, into, max_files, max_bytes).all_of(directory)


class _Copy:
    def __init__(self, device: int, into: Path, max_files: int, max_bytes: int) -> None:
        self._device = device
        self._into = into
        self._files_left = max_files
        self._bytes_left = max_bytes
        self._max_bytes = max_bytes
        self._entries_left = MAX_ENTRIES
        self._files: list[ResultFile] = []
        self._left_out: list[LeftOut] = []
        self._complete = True

    def all_of(self, directory: int) -> Results:
        self._descend(directory, "", 0)
        return Results(tuple(self._files), tuple(self._left_out), self._complete)

    def _descend(self, directory: int, above: str, depth: int) -> None:
        for name in self._names(directory, above):
            path = f"{above}{name}"
            if not path.isprintable() or len(os.fsencode(path)) > MAX_PATH:
                self._leave_out(path, "its name is not printable UTF-8, or too long")
                continue
            self._look_at(directory, name, path, depth)

    def _names(self, directory: int, above: str) -> list[str]:
        """The sorted names, cut off where the number of entries is used up."""
        names: list[str] = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if self._entries_left == 0:
                    self._leave_out(above or ".", f"there are more than {MAX_ENTRIES} entries")
                    break
                self._entries_left -= 1
                names.append(entry.name)
        return sorted(names)

    def _look_at(self, parent: int, name: str, path: str, depth: int) -> None:
        try:
            mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                self._leave_out(
                    path, next((words for is_, words in KINDS if is_(mode)), "not a file")
                )
                return
            flags = OPEN_DIRECTORY if stat.S_ISDIR(mode) else OPEN_FILE
            descriptor = os.open(name, flags, dir_fd=parent)
        except OSError as error:
            self._leave_out(path, f"it could not be opened: {error.strerror}")
            return
        try:
            self._enter(descriptor, path, depth)
        finally:
            os.close(descriptor)

    def _enter(self, descriptor: int, path: str, depth: int) -> None:
        """Judge again what was opened: it may have been exchanged since its name was looked at."""
        info = os.fstat(descriptor)
        if info.st_dev != self._device:
            self._leave_out(path, "it is on another file system")
        elif stat.S_ISREG(info.st_mode):
            self._take(descriptor, info, path)
        elif not stat.S_ISDIR(info.st_mode):
            self._leave_out(path, "it is not a file")
        elif depth == MAX_DEPTH:
            self._leave_out(path, f"it is more than {MAX_DEPTH} directories deep")
        else:
            self._descend(descriptor, f"{path}/", depth + 1)

    def _take(self, descriptor: int, info: os.stat_result, path: str) -> None:
        if self._files_left == 0:
            self._leave_out(path, "there are too many files")
        elif info.st_size > self._bytes_left:
            self._leave_out(path, f"it would exceed the limit of {self._max_bytes} bytes in all")
        else:
            size = _write_copy(descriptor, self._into / path, info.st_size)
            self._files_left -= 1
            self._bytes_left -= size
            self._files.append(ResultFile(path, size, executable=bool(info.st_mode & 0o100)))

    def _leave_out(self, path: str, why: str) -> None:
        self._complete = False
        if len(self._left_out) < MAX_LEFT_OUT:
            shown = path.encode("utf-8", "backslashreplace").decode()[:MAX_PATH]
            self._left_out.append(LeftOut(shown, why))


def _write_copy(source: int, target: Path, size: int) -> int:
    """Copy at most `size` bytes, however much a living program appends meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left = size
    with open(os.open(target, CREATE_FILE, 0o600), "wb") as copy:  # noqa: PTH123
        while left and (chunk := os.read(source, min(left, CHUNK))):
            copy.write(chunk)
            left -= len(chunk)
    return size - left
