"""What builders of this machine remember: small files by key, whole or not at all.

They are not synced: a torn or lost one costs work done again, so readers check what they get. Those
that nobody asked for in 30 days are removed.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec
import structlog

from adapters.scratch import disk_work, scratch_file
from domain.errors import Unavailable

KINDS = frozenset({"fetched", "images", "overlays", "pushed", "resolutions", "wheels"})
LOCK = ".lock"
WAIT_SECONDS = 0.05
KEEP_SECONDS = 30 * 86_400.0
TOUCH_SECONDS = 86_400.0  # it is noted that somebody asked no more often than this
FORGET_EVERY_SECONDS = 3_600.0

log = structlog.stdlib.get_logger(__name__)


async def recall(directory: Path, kind: str, key: str) -> bytes | None:
    """Return what was remembered, None if nothing was. `directory`: the layer cache's."""
    path = directory / kind / key

    def read() -> bytes | None:
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > TOUCH_SECONDS:
                os.utime(path)
            return path.read_bytes()
        return None

    return await asyncio.to_thread(read)


async def recall_as[T](directory: Path, kind: str, key: str, type_: type[T]) -> T | None:
    """Return what was remembered as JSON; None if nothing was, or not what it should be."""
    try:
        return msgspec.json.decode(await recall(directory, kind, key) or b"", type=type_)
    except msgspec.MsgspecError:
        return None


async def remember(directory: Path, kind: str, key: str, data: bytes) -> None:
    """Remember it for all builders of this machine. Raises Unavailable for a disk that fails.

    kind: one of KINDS.
    """
    assert kind in KINDS  # else it would never be forgotten

    def write() -> None:
        with disk_work("Remembering a build"), scratch_file(directory / "scratch") as file:
            file.write(data)
            file.flush()
            (directory / kind).mkdir(exist_ok=True)
            Path(file.name).rename(directory / kind / key)

    await asyncio.to_thread(write)


@asynccontextmanager
async def alone(directory: Path, kind: str, key: str) -> AsyncGenerator[bool]:
    """Be the only one on this machine in the block for this key; yields whether others were first.

    The kernel lets the next one in when the holder dies. Raises Unavailable for a disk that fails.
    """
    path, waited = directory / kind / f"{key}{LOCK}", False
    with ExitStack() as held:
        while not await asyncio.to_thread(_lock, path, held):
            waited = True
            await asyncio.sleep(WAIT_SECONDS)
        yield waited


async def keep_forgetting(directory: Path) -> None:
    """Remove what nobody has asked for in a long time, every hour until cancelled."""
    while True:
        try:
            if count := await asyncio.to_thread(forget, directory):
                log.info("builds.forgotten", count=count)
        except Unavailable as error:
            log.warning("builds.not_forgotten", error=error.detail)
        await asyncio.sleep(FORGET_EVERY_SECONDS)


def forget(directory: Path, seconds: float = KEEP_SECONDS) -> int:
    """Remove what nobody has asked for in so long; returns how many files there were.

    Raises Unavailable for a disk that fails.
    """
    count, before = 0, time.time() - seconds
    with disk_work("Forgetting builds"):
        for folder in (directory / kind for kind in KINDS):
            for path in folder.iterdir() if folder.is_dir() else ():
                with suppress(FileNotFoundError):  # somebody else forgets
                    if path.stat().st_mtime < before:
                        count += _forget(path)
    return count


def _forget(path: Path) -> bool:
    with ExitStack() as held:
        if path.suffix == LOCK and not _lock(path, held):
            return False
        path.unlink()
    return True


def _lock(path: Path, held: ExitStack) -> bool:
    """Take a lock, until `held` is closed; whether it was to be had. Raises Unavailable."""
    with disk_work("Waiting for another build"):
        path.parent.mkdir(exist_ok=True)
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(file.fileno()), path.stat())  # or it was forgotten
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if ours:
            held.enter_context(file)
        else:
            file.close()
    return ours
