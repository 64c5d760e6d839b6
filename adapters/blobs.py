"""Blobs in a folder: bytes by their SHA-256, shared by all processes that can see the folder.

`<folder>/sha256/ab/cdef…` holds one blob each. A blob is written beside the others, synced, and
renamed: it is there whole or not at all, and two writers of one blob do not disturb each other.
What garbage collection has set aside is below `<folder>/aside` in the same way.
"""

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from msgspec import Struct

from adapters.blob_limits import BlobLimit
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


class Stored(Struct, frozen=True, kw_only=True, gc=False):
    """A blob that is there. `at`: when it was stored, or else set aside, in Unix time."""

    digest: str
    bytes: int
    at: float
    aside: bool


class BlobStore(Blobs, Protocol):
    """What processes need of a blob store, besides what the domain does.

    A blob that is set aside is put back by whoever asks for it: reads, `has` and `size` find it.
    limit: how much it may hold; what is new beyond that is refused with BlobStoreFull.
    """

    limit: BlobLimit | None

    async def check(self) -> None:
        """Write, read and remove bytes that nobody asked for, as blobs are. Raises Unavailable."""
        ...

    async def sweep(self) -> int:
        """Remove what writers that died left half written; returns how many."""
        ...

    def stored(self) -> AsyncGenerator[Sequence[Stored]]:
        """Yield all blobs in pages, in no order; one that is also set aside comes twice."""
        ...

    async def set_aside(self, digests: Sequence[str]) -> None:
        """Take blobs out of their places, from now on. One that is not there is passed over."""
        ...

    async def bring_back(self, digests: Sequence[str]) -> None:
        """Put blobs that were set aside back into their places."""
        ...

    async def remove(self, digests: Sequence[str]) -> None:
        """Remove for good what was set aside, and nothing that is in its place."""
        ...


async def bytes_in(store: BlobStore) -> int:
    """Return what all blobs take together. Raises Unavailable."""
    return sum([each.bytes async for page in store.stored() for each in page])


def digest_parts(digest: str) -> tuple[str, str] | None:
    """Return a digest's first two hex digits and the others; None if it is none."""
    match = _DIGEST.fullmatch(digest)
    return (match[1][:2], match[1][2:]) if match else None


class FolderBlobs:
    """Implements BlobStore. Raises Unavailable where the disk is full or fails."""

    def __init__(self, directory: Path) -> None:
        self.limit: BlobLimit | None = None
        self._directory = directory
        self._scratch = directory / "scratch"

    async def put(self, data: bytes) -> str:
        return (await self.put_all([data]))[0]

    async def put_all(self, items: Sequence[bytes]) -> list[str]:
        await self._refresh_limit()
        return await asyncio.to_thread(self._put_all, items)

    async def put_file(self, path: Path) -> str:
        await self._refresh_limit()
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

    async def part(self, digest: str, start: int, stop: int) -> AsyncGenerator[bytes]:
        with await asyncio.to_thread(self._open, digest) as file:
            file.seek(start)
            while start < stop:
                chunk = await asyncio.to_thread(file.read, min(CHUNK_BYTES, stop - start))
                if not chunk:
                    return
                start += len(chunk)
                yield chunk

    async def size(self, digest: str) -> int:
        def measure() -> int:
            with self._open(digest) as file:
                return os.fstat(file.fileno()).st_size

        return await asyncio.to_thread(measure)

    async def has(self, digests: Sequence[str]) -> set[str]:
        def look() -> set[str]:
            paths = ((digest, self._path(digest)) for digest in digests)
            with disk_work(_READING):
                return {
                    digest
                    for digest, path in paths
                    if path is not None and (path.exists() or self._bring_back(path))
                }

        return await asyncio.to_thread(look)

    async def check(self) -> None:
        """Write, read and remove bytes that nobody asked for, as blobs are."""
        await asyncio.to_thread(self._try_out)

    async def sweep(self) -> int:
        """Remove what writers that died left half written; returns how many."""
        return await asyncio.to_thread(sweep_scratch, self._scratch)

    async def stored(self) -> AsyncGenerator[Sequence[Stored]]:
        for number in range(256):
            for aside in (False, True):
                yield await asyncio.to_thread(self._list, f"{number:02x}", aside)

    async def set_aside(self, digests: Sequence[str]) -> None:
        await asyncio.to_thread(self._each, digests, self._set_aside)

    async def bring_back(self, digests: Sequence[str]) -> None:
        await asyncio.to_thread(self._each, digests, self._bring_back)

    async def remove(self, digests: Sequence[str]) -> None:
        def unlink(path: Path) -> None:
            self._aside(path).unlink(missing_ok=True)

        await asyncio.to_thread(self._each, digests, unlink)

    async def _refresh_limit(self) -> None:
        if self.limit is not None:
            await self.limit.refresh()

    def _admit(self, size: int) -> None:
        if self.limit is not None:
            self.limit.admit(size)

    def _each(self, digests: Sequence[str], change: Callable[[Path], object]) -> None:
        with disk_work(_WRITING):
            for path in filter(None, map(self._path, digests)):
                change(path)

    def _list(self, shard: str, aside: bool) -> Sequence[Stored]:
        folder = self._directory / "sha256" / shard
        folder = self._aside(folder) if aside else folder
        found: list[Stored] = []
        with disk_work(_READING), suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                digest = f"sha256:{shard}{entry.name}"
                if digest_parts(digest) is None:
                    continue
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    found.append(
                        Stored(digest=digest, bytes=status.st_size, at=status.st_mtime, aside=aside)
                    )
        return found

    def _set_aside(self, path: Path) -> None:
        aside = self._aside(path)
        aside.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            os.utime(path)  # from now on; it stays young if this is killed before the next line
            path.rename(aside)

    def _bring_back(self, path: Path) -> bool:
        """Put a blob back; returns whether it is there, if by another's hand."""
        aside = self._aside(path)
        if aside.exists():
            path.parent.mkdir(parents=True, exist_ok=True)  # a copy of the folder may lack it
            with suppress(FileNotFoundError):
                aside.rename(path)
        return path.exists()

    def _aside(self, path: Path) -> Path:
        return self._directory / "aside" / path.relative_to(self._directory)

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
                    self._admit(len(data))
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
                self._admit(file.tell())
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
            for _ in range(2):
                with suppress(FileNotFoundError):
                    return path.open("rb", buffering=0)
                self._bring_back(path)
        raise NotFound(f"There is no blob {digest}.", digest=digest)

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
