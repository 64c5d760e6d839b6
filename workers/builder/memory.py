"""What builders of this machine remember: small files by key, whole or not at all.

They are not synced: a torn or lost one costs work done again, so readers check what they get.
"""

import asyncio
import fcntl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from adapters.scratch import disk_work, scratch_file

WAIT_SECONDS = 0.05


async def recall(directory: Path, kind: str, key: str) -> bytes | None:
    """Return what was remembered, None if nothing was. `directory`: the layer cache's."""
    path = directory / kind / key
    return await asyncio.to_thread(lambda: path.read_bytes() if path.exists() else None)


async def recall_as[T](directory: Path, kind: str, key: str, type_: type[T]) -> T | None:
    """Return what was remembered as JSON; None if nothing was, or not what it should be."""
    try:
        return msgspec.json.decode(await recall(directory, kind, key) or b"", type=type_)
    except msgspec.MsgspecError:
        return None


async def remember(directory: Path, kind: str, key: str, data: bytes) -> None:
    """Remember it for all builders of this machine. Raises Unavailable for a disk that fails."""

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
    with disk_work("Waiting for another build"):
        (directory / kind).mkdir(exist_ok=True)
        file = (directory / kind / f"{key}.lock").open("w")
    with file:
        waited = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = True
                await asyncio.sleep(WAIT_SECONDS)
        yield waited
