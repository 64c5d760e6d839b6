"""Scratch files and directories: made beside their destination, gone with whoever made them.

Each is locked by its maker for as long as it lives, and the kernel drops the lock when the maker
dies, however it dies. So whoever can take the lock may sweep: no pids are compared, and makers in
other containers are respected. Publishing is renaming out of the scratch folder.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from domain.errors import Unavailable

_MAKING = "Making room to work in"


@contextmanager
def scratch_file(folder: Path) -> Generator[BinaryIO]:
    """Yield a new file, open for writing and reading; removed on leaving unless it was renamed.

    Raises Unavailable if it cannot be made.
    """
    while True:
        path = folder / secrets.token_hex(12)
        with disk_work(_MAKING):
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("x+b")
        with file:
            if not _owned(file.fileno(), path):
                continue
            try:
                yield file
            except BaseException:
                with suppress(OSError):  # what could not be written before cannot be now
                    file.close()
                raise
            finally:
                path.unlink(missing_ok=True)
            return


@contextmanager
def scratch_directory(folder: Path) -> Generator[Path]:
    """Yield a new directory (mode 0700); removed on leaving, with what is in it, unless renamed.

    Raises Unavailable if it cannot be made.
    """
    while True:
        path = folder / secrets.token_hex(12)
        with disk_work(_MAKING):
            folder.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:  # swept before it could be locked
            continue
        try:
            if not _owned(handle, path):
                continue
            try:
                yield path
            finally:
                remove_tree(path)
            return
        finally:
            os.close(handle)


def sweep_scratch(folder: Path) -> int:
    """Remove what dead makers left; returns how many. Safe beside living makers."""
    swept = 0
    for entry in list(os.scandir(folder)) if folder.is_dir() else []:
        with suppress(OSError):  # its maker has just renamed or removed it, or is another user
            handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if entry.is_dir(follow_symlinks=False):
                    remove_tree(Path(entry.path))
                else:
                    Path(entry.path).unlink()
                swept += 1
            finally:
                os.close(handle)
    return swept


def remove_tree(path: Path) -> None:
    """Remove a directory that may hold anything, folders without permissions included.

    Links are removed, never followed. Harmless where there is nothing.
    """
    with suppress(FileNotFoundError):
        try:
            shutil.rmtree(path)
        except PermissionError:
            path.chmod(0o700)
            for folder, inner, _ in os.walk(path):  # from the top, so that each can be entered
                for name in inner:
                    _open_up(Path(folder, name))
            shutil.rmtree(path)


def _open_up(path: Path) -> None:
    """Give its owner all permissions of a directory; leave a link to one alone."""
    with suppress(NotADirectoryError):
        handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY)
        try:
            Path(f"/proc/self/fd/{handle}").chmod(0o700)
        finally:
            os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make it durable what a directory names."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_work(what: str) -> Generator[None]:
    """Turn what a disk may do to us (full, broken, read-only) into Unavailable: "`what` failed"."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{what} failed: {error.strerror}.") from error


def _owned(handle: int, path: Path) -> bool:
    """Lock what was just made; False if a sweeper was faster and it is no longer there."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(handle).st_ino == path.stat(follow_symlinks=False).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
