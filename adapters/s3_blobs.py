"""Blobs in a bucket of a server that speaks S3: by their SHA-256, for machines that share no disk.

`<prefix>/sha256/ab/cdef…` holds one blob each. An object is there whole or not at all; what an
upload that died has left behind is the bucket's to expire (AbortIncompleteMultipartUpload).
What garbage collection has set aside is below `<prefix>/aside` in the same way.
"""

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Sequence,
)
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from adapters.blob_limits import BlobLimit
from adapters.blobs import CHUNK_BYTES, TRIED, BlobDamaged, Stored, digest_parts
from adapters.scratch import disk_work
from adapters.settings import Settings
from domain.errors import Invalid, NotFound, Unavailable

PART_BYTES = 8 << 20
PARTS_AT_ONCE = 2  # so that a file takes 16 MiB of memory, however large it is
AT_ONCE = 8
CONNECT_SECONDS = 5
SILENCE_SECONDS = 30  # of a server that has a request
RETRIES = 3
RETRY_SECONDS = 20

_ASIDE = "aside/"
_WRITING = "Writing to the blob store"
_READING = "Reading from the blob store"
# What a server says is wrong. The rest of its answer may repeat how a request was signed.
_SAID = (
    re.compile(r"<Code>(\w{1,60})</Code>"),
    re.compile(r"status code: (\d{3} [A-Za-z ]{1,40})"),
)


class S3Blobs:
    """Implements BlobStore. Raises Unavailable where the server fails or refuses."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self.limit: BlobLimit | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def put(self, data: bytes) -> str:
        hexdigest = hashlib.sha256(data).hexdigest()
        key = _key(hexdigest)
        with _work(_WRITING):
            async with self._turns:
                if not await self._is_there(key):
                    await self._admit(len(data))
                    await obstore.put_async(self._store, key, data, use_multipart=False)
        return f"sha256:{hexdigest}"

    async def put_all(self, items: Sequence[bytes]) -> list[str]:
        return await asyncio.gather(*(self.put(data) for data in items))

    async def put_file(self, path: Path) -> str:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb", buffering=0) as file:
            hexdigest = (await asyncio.to_thread(hashlib.file_digest, file, "sha256")).hexdigest()
            with _work(_WRITING):
                async with self._turns:
                    if not await self._is_there(_key(hexdigest)):
                        await self._admit(os.fstat(file.fileno()).st_size)
                        await self._upload(file, hexdigest)
        return f"sha256:{hexdigest}"

    async def _admit(self, size: int) -> None:
        if self.limit is not None:
            await self.limit.refresh()
            self.limit.admit(size)

    async def get(self, digest: str) -> bytes:
        return b"".join([piece async for piece in self.stream(digest)])

    async def get_all(self, digests: Sequence[str]) -> list[bytes]:
        async def one(digest: str) -> bytes:
            async with self._turns:
                return await self.get(digest)

        return await asyncio.gather(*(one(digest) for digest in digests))

    async def fetch(self, digest: str, into: Path) -> None:
        with disk_work(_READING), into.open("wb") as copy:
            async for piece in self.stream(digest):
                await asyncio.to_thread(copy.write, piece)

    async def stream(self, digest: str) -> AsyncGenerator[bytes]:
        hasher = hashlib.sha256()
        with _work(_READING, digest):
            result = await self._found(_key_of(digest), obstore.get_async)
            async for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
                view = memoryview(chunk)
                hasher.update(view)
                for start in range(0, len(view), CHUNK_BYTES):
                    yield bytes(view[start : start + CHUNK_BYTES])
        if digest != f"sha256:{hasher.hexdigest()}":
            await self._put_aside(digest)
            raise BlobDamaged(f"The blob {digest} is damaged in the blob store.", digest=digest)

    async def part(self, digest: str, start: int, stop: int) -> AsyncGenerator[bytes]:
        if start >= stop:
            return
        with _work(_READING, digest):
            result = await self._found(
                _key_of(digest),
                lambda store, key: obstore.get_async(store, key, options={"range": (start, stop)}),
            )
            async for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
                view = memoryview(chunk)
                for begin in range(0, len(view), CHUNK_BYTES):
                    yield bytes(view[begin : begin + CHUNK_BYTES])

    async def size(self, digest: str) -> int:
        with _work(_READING, digest):
            return (await self._found(_key_of(digest), obstore.head_async))["size"]

    async def has(self, digests: Sequence[str]) -> set[str]:
        async def one(digest: str) -> bool:
            async with self._turns:
                with suppress(FileNotFoundError):
                    await self._found(_key_of(digest), obstore.head_async)
                    return True
                return False

        known = [digest for digest in digests if digest_parts(digest)]
        with _work(_READING):
            found = await asyncio.gather(*(one(digest) for digest in known))
        return {digest for digest, there in zip(known, found, strict=True) if there}

    async def check(self) -> None:
        """Write, read and remove bytes that nobody asked for."""
        key = f"check/{secrets.token_hex(8)}"
        with _work(_WRITING):
            await obstore.put_async(self._store, key, TRIED, use_multipart=False)
        with _work(_READING):
            found = await (await obstore.get_async(self._store, key)).bytes_async()
        with _work(_WRITING):
            await obstore.delete_async(self._store, key)
        if bytes(found) != TRIED:
            raise Unavailable(f"{_READING} gave other bytes than were written.")

    async def sweep(self) -> int:
        """Nothing is left half written that can be seen."""
        return 0

    async def stored(self) -> AsyncGenerator[Sequence[Stored]]:
        for prefix, aside in (("", False), (_ASIDE, True)):
            with _work(_READING):
                pages = obstore.list(self._store, prefix=f"{prefix}sha256/")  # pyright: ignore[reportUnknownMemberType]  # of Arrow's
                async for page in pages:
                    yield [
                        Stored(
                            digest=digest,
                            bytes=each["size"],
                            at=each["last_modified"].timestamp(),
                            aside=aside,
                        )
                        for each in page
                        if digest_parts(digest := _digest_of(each["path"]))
                    ]

    async def set_aside(self, digests: Sequence[str]) -> None:
        await self._each(digests, self._set_aside)

    async def bring_back(self, digests: Sequence[str]) -> None:
        await self._each(digests, self._bring_back)

    async def remove(self, digests: Sequence[str]) -> None:
        async def delete(key: str) -> None:
            await obstore.delete_async(self._store, f"{_ASIDE}{key}")

        await self._each(digests, delete)

    async def _each(self, digests: Sequence[str], change: Callable[[str], Awaitable[None]]) -> None:
        async def one(digest: str) -> None:
            async with self._turns:
                with suppress(FileNotFoundError):
                    await change(_key_of(digest))

        with _work(_WRITING):
            await asyncio.gather(*(one(digest) for digest in digests))

    async def _set_aside(self, key: str) -> None:
        # Whoever stores it in between may find it gone from its place, and here.
        await obstore.copy_async(self._store, key, f"{_ASIDE}{key}")
        await obstore.delete_async(self._store, key)

    async def _bring_back(self, key: str) -> None:
        await obstore.copy_async(self._store, f"{_ASIDE}{key}", key)

    async def _found[R](self, key: str, ask: Callable[[S3Store, str], Awaitable[R]]) -> R:
        """Ask for an object, which may have been set aside."""
        try:
            return await ask(self._store, key)
        except FileNotFoundError:
            await self._bring_back(key)
        return await ask(self._store, key)

    async def _upload(self, file: FileIO, hexdigest: str) -> None:
        pieces = _unchanged(file, hexdigest)
        if os.fstat(file.fileno()).st_size <= PART_BYTES:
            data = b"".join([piece async for piece in pieces])
            await obstore.put_async(self._store, _key(hexdigest), data, use_multipart=False)
            return
        await obstore.put_async(
            self._store,
            _key(hexdigest),
            pieces,
            use_multipart=True,
            chunk_size=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
        )

    async def _is_there(self, key: str) -> bool:
        try:
            await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return False
        return True

    async def _put_aside(self, digest: str) -> None:
        name = f"damaged/{digest.removeprefix('sha256:')}-{secrets.token_hex(4)}"
        with suppress(BaseError, OSError):  # a store that is only read here stays as it is
            await obstore.rename_async(self._store, _key_of(digest), name)


def _digest_of(key: str) -> str:
    """Return the digest that an object's key says, or what is none."""
    return "sha256:" + "".join(key.split("/")[-2:])


def open_s3(settings: Settings) -> S3Blobs:
    """Return the store that `s3://bucket/prefix` names; connects when it is first used.

    Raises Invalid.
    """
    where = urlsplit(settings.blobs)
    if not where.hostname or where.username or where.query:
        raise Invalid("ARGOSY_BLOBS is like s3://bucket/prefix.", field="environment")
    config: dict[str, Any] = {"region": settings.s3_region}
    if settings.s3_endpoint:
        config["endpoint"] = settings.s3_endpoint
    if settings.s3_credentials_file != Path():
        config["access_key_id"], config["secret_access_key"] = _credentials(settings)
    return S3Blobs(
        S3Store(
            where.netloc,
            prefix=where.path.strip("/") or None,
            config=config,  # pyright: ignore[reportArgumentType]  # made of what is set
            client_options={
                "allow_http": settings.s3_endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                "read_timeout": timedelta(seconds=SILENCE_SECONDS),
                "timeout": timedelta(hours=1),  # a whole answer, which may be large
            },
            retry_config={
                "max_retries": RETRIES,
                "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            },
        )
    )


def _credentials(settings: Settings) -> tuple[str, str]:
    file = settings.s3_credentials_file
    try:
        words = file.read_text().split()
    except (OSError, UnicodeDecodeError):
        words = []
    if len(words) != 2:
        raise Invalid(
            f"ARGOSY_S3_CREDENTIALS_FILE, {file}, has an access key and its secret, a line each.",
            field="environment",
        )
    return words[0], words[1]


async def _unchanged(file: FileIO, hexdigest: str) -> AsyncIterator[bytes]:
    """Yield a file from its start; raises before its end if it is not what was hashed."""
    hasher = hashlib.sha256()
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        hasher.update(chunk)
        yield chunk
    if hasher.hexdigest() != hexdigest:
        raise Unavailable("The file was changed while it was being stored.")


@contextmanager
def _work(what: str, digest: str = "") -> Generator[None]:
    """Make refusals of what goes wrong; reading a digest, what is not there is not found."""
    try:
        yield
    except FileNotFoundError as error:
        if digest:
            raise NotFound(f"There is no blob {digest}.", digest=digest) from None
        raise Unavailable(f"{what} failed: {_said(error)}") from None
    except (BaseError, OSError) as error:
        raise Unavailable(f"{what} failed: {_said(error)}") from None


def _said(error: Exception) -> str:
    found = next(filter(None, (each.search(str(error)) for each in _SAID)), None)
    return found[1].strip() if found else "it cannot be reached"


def _key(hexdigest: str) -> str:
    return f"sha256/{hexdigest[:2]}/{hexdigest[2:]}"


def _key_of(digest: str) -> str:
    parts = digest_parts(digest)
    if parts is None:
        raise NotFound(f"{digest[:100]!r} is not a digest like sha256:<64 hex digits>.")
    return "/".join(("sha256", *parts))
