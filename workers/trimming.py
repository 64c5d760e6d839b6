"""Which layers of this machine stay: those in use, and of the others what there is room for.

Whoever uses a layer has its directory locked meanwhile (shared, so the kernel drops the lock when
the user dies) and leaves the time on it. A layer whose lock can be had alone, and that nobody used
for an hour, may go: renamed into the scratch folder under that lock, then removed. The hour is for
those who have looked a layer up and are about to open a sandbox with it.
"""

import fcntl
import os
import re
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from adapters.scratch import sweep_scratch

IDLE_SECONDS = 3600.0
# A directory that changes makes Python look through it again, in all sandboxes that show it.
TOUCH_SECONDS = 60.0

_LAYER = re.compile("sha256-[0-9a-f]{64}")


def is_layer(path: Path) -> bool:
    """Whether this is a layer of a cache, by its name."""
    return _LAYER.fullmatch(path.name) is not None


@contextmanager
def layer_held(path: Path) -> Generator[None]:
    """Keep a layer where it is meanwhile. Raises FileNotFoundError if it is not there."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)  # waits for a rename at most
        if not _is_at(handle, path):
            raise FileNotFoundError(path)
        _touch(handle)
        try:
            yield
        finally:
            _touch(handle)
    finally:
        os.close(handle)


def trim_layers(layers: Path, scratch: Path, sizes: Path, limit_bytes: int) -> int:
    """Remove layers that were not used for longest until the rest fits; returns how many.

    sizes: a folder for what was measured, because measuring reads whole trees.
    """
    sizes.mkdir(exist_ok=True)
    found: list[tuple[float, Path, int]] = []
    for path in layers.iterdir():
        with suppress(FileNotFoundError):  # somebody else trims
            found.append((path.stat().st_mtime, path, _size(path, sizes)))
    left, removed = sum(size for *_, size in found), 0
    for _, path, size in sorted(found):
        if left <= limit_bytes:
            break
        if _set_aside(path, scratch):
            (sizes / path.name).unlink(missing_ok=True)
            left -= size
            removed += 1
    if removed:
        sweep_scratch(scratch)
    return removed


def _set_aside(path: Path, scratch: Path) -> bool:
    """Move a layer to where it is swept, unless it is in use, or was lately."""
    with suppress(FileNotFoundError, BlockingIOError):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            idle = time.time() - os.fstat(handle).st_mtime
            if idle >= IDLE_SECONDS and _is_at(handle, path):
                path.rename(scratch / token_hex(12))
                return True
        finally:
            os.close(handle)
    return False


def _is_at(handle: int, path: Path) -> bool:
    return os.fstat(handle).st_ino == path.stat(follow_symlinks=False).st_ino


def _touch(handle: int) -> None:
    if time.time() - os.fstat(handle).st_mtime >= TOUCH_SECONDS:
        os.utime(handle)


def _size(path: Path, sizes: Path) -> int:
    """Return the bytes that a layer takes on the disk, measured once.

    Of files that it shares with others, its share.
    """
    known = sizes / path.name
    with suppress(FileNotFoundError, ValueError):
        return int(known.read_text())
    blocks = 0.0
    for folder, folders, names in os.walk(path):
        for name in folders:
            blocks += Path(folder, name).lstat().st_blocks
        for name in names:
            status = Path(folder, name).lstat()
            blocks += status.st_blocks / status.st_nlink
    size = round(blocks * 512)
    known.write_text(str(size))
    return size
