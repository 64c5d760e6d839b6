"""The layers of this machine: directories that sandboxes show read-only, named by digest.

A layer is made in a scratch directory and renamed, so it is there whole or not at all, whoever
else makes it at the same time and whoever is killed. Its files are not synced: what a crash of the
whole machine may have torn is not trusted after the next boot but made again, from the blob store.
"""

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from secrets import token_hex
from typing import BinaryIO
from weakref import WeakValueDictionary

import structlog

from adapters.scratch import disk_work, scratch_directory, scratch_file, sweep_scratch
from domain.errors import Invalid, NotFound
from domain.execution import Image, digest_of, source_digest
from domain.ports import Blobs
from workers.archives import (
    MAX_MB,
    Contents,
    link_together,
    make_folders,
    pack,
    pack_end,
    pack_part,
    settle,
    unpack,
)
from workers.images.unpacking import MAX_MB as MAX_IMAGE_MB
from workers.images.unpacking import unpack_image
from workers.trimming import layer_held, trim_layers

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

IMAGE_FORMAT = "image 1"  # what an unpacked image looks like; raise it when that changes

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


log = structlog.stdlib.get_logger(__name__)


class LayerCache:
    """Makes layers on demand. All of them may be used by any uid that can reach the directory.

    limit_mb: what `trim` leaves, on the disk; 0 for everything. A path is valid for the next hour,
    and for as long as it is held by `trimming.layer_held`.
    Raises Unavailable where the disk is full or fails.
    """

    def __init__(self, directory: Path, blobs: Blobs, *, limit_mb: int = 0) -> None:
        self.directory = directory.absolute()
        self._layers = self.directory / "layers"
        self._scratch = self.directory / "scratch"
        self._sizes = self.directory / "sizes"
        self._limit_mb = limit_mb
        self._blobs = blobs
        self._making: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        with disk_work("Preparing the layer cache"):
            self._begin(BOOT_ID.read_text() if BOOT_ID.exists() else "")

    async def source(self, files: Mapping[str, str]) -> Path:
        """Return the layer of source files, given by path and blob. Raises NotFound for a blob."""

        async def make() -> Callable[[Path], None]:
            contents = await self._blobs.get_all(list(files.values()))
            return partial(_write_files, dict(zip(files, contents, strict=True)))

        return await self._layer(source_digest(files), make)

    async def runtime(self, files: Mapping[str, bytes]) -> Path:
        """Return a layer of files given by path: what Argosy itself puts into sandboxes."""

        async def make() -> Callable[[Path], None]:
            return partial(_write_files, files)

        digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
        return await self._layer(source_digest(digests), make)

    async def dependencies(self, digest: str) -> Path:
        """Return the layer that `keep` stored, here or on another machine. Raises NotFound."""
        path = self._path(digest)
        if _is_here(path):
            return path
        with scratch_file(self._scratch) as packed:
            await self._blobs.fetch(digest, Path(packed.name))

            def write(tree: Path) -> None:
                unpack(packed, tree)

            async def make() -> Callable[[Path], None]:
                return write

            return await self._layer(digest, make)

    async def image(self, image: Image, *, max_mb: int = MAX_IMAGE_MB) -> Path:
        """Return an image's directory, unpacked from its blobs: see `unpacking`.

        Raises NotFound for a blob, LayerRefused for what cannot be unpacked.
        """
        with scratch_directory(self._scratch) as packed:

            async def make() -> Callable[[Path], None]:
                layers = [packed / str(number) for number in range(len(image.layers))]
                for digest, path in zip(image.layers, layers, strict=True):
                    await self._blobs.fetch(digest, path)
                config = await self._blobs.get(image.config)
                return partial(unpack_image, config, layers, max_mb=max_mb)

            name = digest_of(f"{IMAGE_FORMAT} {image.manifest}".encode())
            return await self._layer(name, make)

    async def keep(self, tree: Path, *, max_mb: int = MAX_MB) -> tuple[str, Contents]:
        """Store a tree as a layer and return its digest. The tree is moved, or left to be removed.

        It must be on the cache's disk, belong to nobody who still runs, and is not trusted: raises
        LayerRefused for links, devices, shared files and more than `max_mb`.
        """

        def packed_into(path: Path) -> Contents:
            with path.open("wb") as into:
                return pack(tree, into, max_mb=max_mb)

        with scratch_file(self._scratch) as packed, disk_work("Packing a layer"):
            contents = await asyncio.to_thread(packed_into, Path(packed.name))
            digest = await self._blobs.put_file(Path(packed.name))
            await asyncio.to_thread(settle, tree)
            await asyncio.to_thread(self._publish, tree, self._path(digest))
        return digest, contents

    def has_part(self, key: str) -> bool:
        """Whether `put_together` may take a part; it stays for the next hour."""
        return _is_here(self._part(key))

    async def keep_part(self, key: str, tree: Path, *, max_mb: int = MAX_MB) -> None:
        """Keep a tree to put layers together from. As `keep`, but on this machine only.

        key: 64 hex digits that name what is in it.
        """

        def make() -> None:
            with scratch_directory(self._scratch) as part:
                with (part / "part").open("wb") as into:
                    pack_part(tree, into, max_mb=max_mb)
                settle(tree)
                tree.rename(part / "tree")
                self._publish(part, self._part(key))

        with disk_work("Keeping a package"):
            await asyncio.to_thread(make)

    async def put_together(
        self, keys: Sequence[str], *, max_mb: int = MAX_MB
    ) -> tuple[str, Contents]:
        """Store the parts together as a layer and return its digest; it shares their files.

        Raises NotFound for a part that is not here any more, Overlapping if two have the same file,
        LayerRefused if together they are more than `max_mb`.
        """

        def make(tree: Path, packed: BinaryIO) -> Contents:
            with ExitStack() as held:
                parts = [self._part(key) for key in keys]
                for part in parts:
                    held.enter_context(layer_held(part))
                    with (part / "part").open("rb") as file:
                        shutil.copyfileobj(file, packed)
                pack_end(packed)
                packed.flush()
                tree.chmod(0o755)
                return link_together([part / "tree" for part in parts], tree, max_mb=max_mb)

        with (
            scratch_file(self._scratch) as packed,
            scratch_directory(self._scratch) as tree,
            disk_work("Putting a layer together"),
        ):
            try:
                contents = await asyncio.to_thread(make, tree, packed)
            except FileNotFoundError:
                raise NotFound("A package was removed meanwhile.") from None
            digest = await self._blobs.put_file(Path(packed.name))
            await asyncio.to_thread(self._publish, tree, self._path(digest))
        return digest, contents

    async def sweep(self) -> int:
        """Remove what makers that died left half made; returns how many."""
        return await asyncio.to_thread(sweep_scratch, self._scratch)

    async def trim(self) -> int:
        """Remove layers that are not in use until the rest is within the limit; returns how many.

        Those that were not used for longest go first; those of the last hour stay. A disk that
        fails is logged: the next call tries again.
        """
        if not self._limit_mb:
            return 0
        try:
            removed = await asyncio.to_thread(
                trim_layers, self._layers, self._scratch, self._sizes, self._limit_mb << 20
            )
        except OSError as error:
            log.warning("layers.not_trimmed", error=error.strerror)
            return 0
        if removed:
            log.info("layers.trimmed", removed=removed)
        return removed

    async def _layer(
        self, digest: str, prepare: Callable[[], Awaitable[Callable[[Path], None]]]
    ) -> Path:
        path = self._path(digest)
        if _is_here(path):
            return path
        async with self._making.setdefault(digest, asyncio.Lock()):
            if not _is_here(path):
                write = await prepare()
                await asyncio.to_thread(self._make, write, path)
        return path

    def _make(self, write: Callable[[Path], None], path: Path) -> None:
        with disk_work("Making a layer"), scratch_directory(self._scratch) as tree:
            write(tree)
            self._publish(tree, path)

    def _publish(self, tree: Path, path: Path) -> None:
        tree.chmod(0o755)
        os.utime(tree)
        try:
            tree.rename(path)
        except OSError:
            if not _is_here(path):  # else somebody made the same layer meanwhile
                raise

    def _part(self, key: str) -> Path:
        return self._layers / f"sha256-{key}"

    def _path(self, digest: str) -> Path:
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise NotFound(f"{digest[:100]!r} is not a digest like sha256:<64 hex digits>.")
        return self._layers / f"sha256-{match[1]}"

    def _begin(self, boot: str) -> None:
        """Make the folders; put layers of an earlier boot where the next sweep removes them."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        with (self.directory / "boot").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if file.read() != boot:
                with suppress(FileNotFoundError):
                    self._layers.rename(self._scratch / token_hex(12))
                file.truncate(0)
                file.write(boot)
        self._layers.mkdir(exist_ok=True)
        for folder in (self.directory, self._layers, self._scratch):
            folder.chmod(0o755)


def _is_here(path: Path) -> bool:
    """Whether a layer is there; if so, it stays for a while."""
    with disk_work("Looking for a layer"), suppress(FileNotFoundError), layer_held(path):
        return True
    return False


def _write_files(files: Mapping[str, bytes], tree: Path) -> None:
    for name, data in files.items():
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or name.startswith("/"):
            raise Invalid(f"{name!r} is not a path within a layer.", field="files")
        path = tree.joinpath(*parts)
        make_folders(path.parent)
        with path.open("xb") as file:
            file.write(data)
        path.chmod(0o644)
