"""Blobs in a folder: bytes by their SHA-256, shared by all processes that can see the folder.

`<folder>/sha256/ab/cdef…` holds one blob each. A blob is written beside the others, synced, and
renamed: it is there whole or not at all, and two writers of one blob do not disturb each other.
"""

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from adapters.scratch import disk_work, scratch_file, sweep_scratch, sync_folder
from domain.errors import NotFound, Unavailable
from domain.ports import Blobs

CHUNK_BYTES = 1 << 20
TRIED = bytes(1 << 16)

_WRITING = "Writing to the blob store"
_READING = "Reading from the blob store"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class BlobDamaged(Unavailable):
    """The stored bytes are not what was stored: a fault of the disk. It was moved out of the way.

    Storing the same bytes again mends it.
    """

    type = "blob-damaged"
    title = "Stored bytes are damaged"


class BlobStore(Blobs, Protocol):
    """What processes need of a blob store, besides what the domain does."""

    async def check(self) -> None:
        """Write, read and remove bytes that nobody asked for, as blobs are. Raises Unavailable."""
        ...

    async def sweep(self) -> int:
        """Remove what writers that died left half written; returns how many."""
        ...


def digest_parts(digest: str) -> tuple[str, str] | None:
    """Return a digest's first two hex digits and the others; None if it is none."""
    match = _DIGEST.fullmatch(digest)
    return (match[1][:2], match[1][2:]) if match else None


class FolderBlobs:
    """Implements BlobStore. Raises Unavailable where the disk is full or fails."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._scratch = directory / "scratch"

    async def put(self, data: bytes) -> str:
        return (await self.put_all([data]))[0]

    async def put_all(self, items: Sequence[bytes]) -> list[str]:
        return await asyncio.to_thread(self._put_all, items)

    async def put_file(self, path: Path) -> str:
        return await asyncio.to_thread(self._put_file, path)

    async def get(self, digest: str) -> bytes:
        return await asyncio.to_thread(self._get, digest)

    async def get_all(self, digests: Sequence[str]) -> list[bytes]:
        return await asyncio.to_thread(lambda: [self._get(digest) for digest in digests])

    async def fetch(self, digest: str, into: Path) -> None:
        await asyncio.to_thread(self._fetch, digest, into)

    async def stream(self, digest: str) -> AsyncGenerator[bytes]:
        hasher = hashlib.sha256()
        with await asyncio.to_thread(self._open, digest) as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                hasher.update(chunk)
                yield chunk
        self._check(digest, hasher.hexdigest())

    async def size(self, digest: str) -> int:
        def measure() -> int:
            with self._open(digest) as file:
                return os.fstat(file.fileno()).st_size

        return await asyncio.to_thread(measure)

    async def has(self, digests: Sequence[str]) -> set[str]:
        def look() -> set[str]:
            paths = ((digest, self._path(digest)) for digest in digests)
            return {digest for digest, path in paths if path is not None and path.exists()}

        return await asyncio.to_thread(look)

    async def check(self) -> None:
        """Write, read and remove bytes that nobody asked for, as blobs are."""
        await asyncio.to_thread(self._try_out)

    async def sweep(self) -> int:
        """Remove what writers that died left half written; returns how many."""
        return await asyncio.to_thread(sweep_scratch, self._scratch)

    def _try_out(self) -> None:
        with disk_work(_WRITING), scratch_file(self._scratch) as file:
            file.write(TRIED)
            file.flush()
            os.fsync(file.fileno())
            with disk_work(_READING):
                file.seek(0)
                if file.read() != TRIED:
                    raise Unavailable(f"{_READING} gave other bytes than were written.")

    def _put_all(self, items: Sequence[bytes]) -> list[str]:
        digests: list[str] = []
        written: dict[Path, Path] = {}
        with disk_work(_WRITING):
            for data in items:
                hexdigest = hashlib.sha256(data).hexdigest()
                path = self._place(hexdigest)
                if not path.exists():
                    with scratch_file(self._scratch) as file:
                        file.write(data)
                        _publish(file, path)
                written[path.parent] = path
                digests.append(f"sha256:{hexdigest}")
            for path in written.values():  # one a folder is enough
                _sync(path)
        return digests

    def _put_file(self, source: Path) -> str:
        hasher = hashlib.sha256()
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with (
            os.fdopen(handle, "rb", buffering=0) as reader,
            disk_work(_WRITING),
            scratch_file(self._scratch) as file,
        ):
            for chunk in _chunks(reader):
                hasher.update(chunk)
                file.write(chunk)
            path = self._place(hasher.hexdigest())
            if not path.exists():
                _publish(file, path)
            _sync(path)
        return f"sha256:{hasher.hexdigest()}"

    def _get(self, digest: str) -> bytes:
        with self._open(digest) as file, disk_work(_READING):
            data = file.read()
        self._check(digest, hashlib.sha256(data).hexdigest())
        return data

    def _fetch(self, digest: str, into: Path) -> None:
        hasher = hashlib.sha256()
        with self._open(digest) as file, disk_work(_READING), into.open("wb") as copy:
            for chunk in _chunks(file):
                hasher.update(chunk)
                copy.write(chunk)
        self._check(digest, hasher.hexdigest())

    def _open(self, digest: str) -> BinaryIO:
        path = self._path(digest)
        if path is None:
            raise NotFound(f"{digest[:100]!r} is not a digest like sha256:<64 hex digits>.")
        with disk_work(_READING):
            try:
                return path.open("rb", buffering=0)
            except FileNotFoundError:
                raise NotFound(f"There is no blob {digest}.", digest=digest) from None

    def _check(self, digest: str, hexdigest: str) -> None:
        path = self._path(digest)
        if path is None or digest == f"sha256:{hexdigest}":
            return
        damaged = self._directory / "damaged"
        with suppress(OSError):  # a store that is only read here stays as it is
            damaged.mkdir(exist_ok=True)
            path.rename(damaged / f"{digest.removeprefix('sha256:')}-{secrets.token_hex(4)}")
        raise BlobDamaged(f"The blob {digest} is damaged on disk.", digest=digest)

    def _path(self, digest: str) -> Path | None:
        parts = digest_parts(digest)
        return self._directory.joinpath("sha256", *parts) if parts else None

    def _place(self, hexdigest: str) -> Path:
        """Return where a blob belongs, its folder made."""
        folder = self._directory / "sha256" / hexdigest[:2]
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing[1:]:
            sync_folder(made.parent)
        return folder / hexdigest[2:]


def _sync(path: Path) -> None:
    """Make it durable that a blob is there, even if another writer has just put it there."""
    sync_folder(path.parent)
    sync_folder(path.parent.parent)


def _publish(file: BinaryIO, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    Path(file.name).rename(path)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
