"""An image's layers as archives: the same members make the same bytes, wherever and whenever.

Unlike the archives of `workers/archives.py`, they may hold symbolic links: whoever pulls an image
unpacks them, and nobody here does.
"""

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Buffer, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from msgspec import Struct

from workers.archives import COMPRESSION, EPOCH

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

type Member = tuple[tarfile.TarInfo, Path | bytes | None]


class Layer(Struct, frozen=True, kw_only=True):
    """A layer of an image. digest, size: of the blob. diff_id: digest of the archive in it."""

    digest: str
    size: int
    diff_id: str


def write_layer(found: Iterable[Member], into: BinaryIO) -> str:
    """Write members in the order given; returns the layer's diff id."""
    with _Hashing("", "wb", COMPRESSION, into, mtime=0) as hashing:
        with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for info, content in found:
                match content:
                    case None:
                        archive.addfile(info)
                    case bytes():
                        archive.addfile(info, io.BytesIO(content))
                    case Path():
                        handle = os.open(content, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                        with os.fdopen(handle, "rb") as file:
                            archive.addfile(info, file)
        return f"sha256:{hashing.hasher.hexdigest()}"


def tree_members(tree: Path, place: str) -> Iterator[Member]:
    """Yield a layer's tree as it is found at `place`, an absolute path, inside."""
    prefix = place.removeprefix("/")
    yield from _folders(str(PurePosixPath(prefix).parent))
    for root, folders, files in os.walk(tree):
        folders.sort()
        inside = PurePosixPath(prefix, Path(root).relative_to(tree).as_posix())
        yield folder_member(str(inside)), None
        for name in sorted(files):
            path = Path(root, name)
            status = path.lstat()
            info = tarfile.TarInfo(str(inside / name))
            info.size, info.mtime = status.st_size, EPOCH
            info.mode = 0o755 if status.st_mode & 0o111 else 0o644
            yield info, path


def file_members(files: Mapping[str, bytes], place: str) -> Iterator[Member]:
    """Yield files, given by path, as they are found below `place` inside."""
    prefix = place.removeprefix("/")
    yield from _folders(prefix)
    made = {PurePosixPath(prefix)}
    for name in sorted(files):
        path = PurePosixPath(prefix, name)
        for folder in reversed(path.parents[: len(path.parts) - 1]):
            if folder not in made and folder.is_relative_to(prefix):
                made.add(folder)
                yield folder_member(str(folder)), None
        yield file_member(str(path), files[name]), files[name]


def folder_member(name: str, mode: int = 0o755) -> tarfile.TarInfo:
    """Return a directory."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = tarfile.DIRTYPE, mode, EPOCH
    return info


def file_member(name: str, content: bytes) -> tarfile.TarInfo:
    """Return a file that everybody may read."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(content), 0o644, EPOCH
    return info


def _folders(prefix: str) -> Iterator[Member]:
    parts = PurePosixPath(prefix).parts
    for number in range(1, len(parts) + 1):
        yield folder_member("/".join(parts[:number])), None


class _Hashing(gzip.GzipFile):
    """A compressed file, and the digest of what is written to it."""

    def __init__(self, *given: Any, **more: Any) -> None:  # Any: those of GzipFile
        super().__init__(*given, **more)
        self.hasher = hashlib.sha256()

    def write(self, data: Buffer) -> int:
        self.hasher.update(data)
        return super().write(data)
