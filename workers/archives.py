"""Layers as archives: one deterministic `tar.gz` for one tree, whoever packs it and wherever.

An archive is parts, each a gzip member with some of the files (no directories: a file's are made
with it), and an end. So archives of the same parts are put together without reading them.

A tree is what an untrusted build left, and an archive may have been tampered with, so both ways
take regular files and directories with plain names only: no links, no devices, nothing outside.
Owners, times and special modes are forgotten; of a file's mode, whether it can be executed is kept.
"""

import gzip
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from msgspec import Struct

from domain.errors import Invalid

MAX_FILES = 200_000
MAX_MB = 8_192
COMPRESSION = 1  # a build waits for it; higher levels cost more than they save
EPOCH = 315_532_800  # 1980-01-01: the oldest time that programs which make zip files accept
BLOCK = tarfile.BLOCKSIZE
# tarfile lets through what int() and unpacking say of numbers that are none, what an index says of
# a block that is cut short, and what Python says of headers for headers for headers.
UNREADABLE = (
    *(tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error),
    *(ValueError, OverflowError, IndexError, RecursionError),
)
MAX_NAME = 255  # bytes, of a file; what file systems hold
MAX_PATH = 2_048  # bytes, below the tree


class LayerRefused(Invalid):
    """The tree or archive holds what a layer may not hold. Nothing of it was used."""

    type = "layer-refused"
    title = "This cannot be a layer"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, field="layer")


class Overlapping(LayerRefused):
    """Two parts of a layer have a file of the same name. Nothing of it was used."""


class Contents(Struct, frozen=True):
    """What is in a tree: regular files, and their bytes uncompressed."""

    files: int
    size: int


def pack(tree: Path, into: BinaryIO, *, max_mb: int = MAX_MB) -> Contents:
    """Write the tree's archive. The tree must not change meanwhile. Raises LayerRefused."""
    contents = pack_part(tree, into, max_mb=max_mb)
    pack_end(into)
    return contents


def pack_part(tree: Path, into: BinaryIO, *, max_mb: int = MAX_MB) -> Contents:
    """Write a tree's files as a part of an archive, as `pack` does."""
    files = size = 0
    if not stat.S_ISDIR(tree.lstat().st_mode):
        raise LayerRefused(f"{tree.name!r} is not a directory.")
    with gzip.GzipFile("", "wb", COMPRESSION, into, mtime=0) as part:
        for name, path, status in _walk(tree):
            if stat.S_ISDIR(status.st_mode):
                continue
            files, size = files + 1, size + status.st_size
            check_size(files, size, max_mb)
            info = tarfile.TarInfo(name)
            info.mtime, info.size, info.mode = EPOCH, status.st_size, _mode(status.st_mode)
            part.write(info.tobuf(tarfile.PAX_FORMAT))
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(handle, "rb") as file:
                shutil.copyfileobj(file, part)
                if file.tell() != info.size:
                    raise LayerRefused(f"{name!r} changed while it was packed.")
            part.write(bytes(-info.size % BLOCK))
    return Contents(files, size)


def pack_end(into: BinaryIO) -> None:
    """Write what comes after the last part."""
    into.write(gzip.compress(bytes(2 * BLOCK), COMPRESSION, mtime=0))


def settle(tree: Path) -> None:
    """Give a tree that was packed the owner and modes that its archive would unpack with."""
    owner = os.geteuid(), os.getegid()
    os.chown(tree, *owner, follow_symlinks=False)
    for _, path, status in _walk(tree):
        if (status.st_uid, status.st_gid) != owner:
            os.chown(path, *owner, follow_symlinks=False)
        path.chmod(0o755 if stat.S_ISDIR(status.st_mode) else _mode(status.st_mode))


def link_together(parts: Sequence[Path], tree: Path, *, max_mb: int = MAX_MB) -> Contents:
    """Fill `tree`, an empty directory, with links to the files of settled trees.

    Raises Overlapping where two have a file of the same name, and LayerRefused.
    """
    files = size = 0
    for part in parts:
        for folder, _, names in os.walk(part):
            into = tree / Path(folder).relative_to(part)
            try:
                if names:
                    make_folders(into)
                for name in names:
                    source = Path(folder, name)
                    files, size = files + 1, size + source.lstat().st_size
                    check_size(files, size, max_mb)
                    (into / name).hardlink_to(source)
            except (FileExistsError, NotADirectoryError):
                raise Overlapping(f"Two packages have files at {into.name!r}.") from None
    return Contents(files, size)


def unpack(archive: BinaryIO, tree: Path, *, max_mb: int = MAX_MB) -> Contents:
    """Write an archive's files below `tree`, an empty directory. Raises LayerRefused."""
    files = size = 0
    try:
        with (
            gzip.GzipFile(fileobj=archive, mode="rb") as opened,
            tarfile.open(fileobj=opened, mode="r|") as members,
        ):
            for member in members:
                path = tree / _checked_name(member.name)
                if member.isdir():
                    make_folders(path)
                    continue
                if not member.isreg():
                    raise LayerRefused(f"{member.name!r} is neither a file nor a directory.")
                files, size = files + 1, size + member.size
                check_size(files, size, max_mb)
                make_folders(path.parent)
                content = members.extractfile(member)
                assert content is not None  # it is a regular file
                with content, path.open("xb") as file:
                    shutil.copyfileobj(content, file)
                path.chmod(_mode(member.mode))
    except (*UNREADABLE, FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise LayerRefused(f"The archive cannot be read: {error}") from error
    return Contents(files, size)


def make_folders(path: Path) -> None:
    """Make a directory that every uid can enter, whatever the umask, and those above it.

    Harmless if it is there. Raises FileExistsError for a file.
    """
    missing: list[Path] = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir()
        folder.chmod(0o755)


def _walk(tree: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Yield name, path and status of all below a directory, in an order that depends on names only.

    A directory comes before what is in it.
    """
    pending = [""]
    while pending:
        prefix = pending.pop()
        with os.scandir(tree / prefix) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        folders: list[str] = []
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            name = f"{prefix}{entry.name}"
            _checked_name(name)
            if stat.S_ISDIR(status.st_mode):
                folders.append(f"{name}/")
            elif not stat.S_ISREG(status.st_mode):
                raise LayerRefused(f"{name!r} is a link or a device; a layer holds only files.")
            elif status.st_nlink > 1:
                raise LayerRefused(f"{name!r} is shared with another file; a layer owns its files.")
            yield name, Path(entry.path), status
        pending.extend(reversed(folders))


def _checked_name(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise LayerRefused(f"{name!r} is not a path within a layer.")
    try:
        longest = max(len(part.encode()) for part in path.parts)
    except UnicodeEncodeError:
        raise LayerRefused(f"{name!r} is not UTF-8.") from None
    if longest > MAX_NAME or len(name.encode()) > MAX_PATH:
        raise LayerRefused(f"{name[:MAX_NAME]!r}… is too long a name.")
    return path


def check_size(files: int, size: int, max_mb: int) -> None:
    """Raise LayerRefused for more than a layer may have."""
    if files > MAX_FILES:
        raise LayerRefused(f"There are more than {MAX_FILES} files; a layer may have as many.")
    if size > max_mb << 20:
        raise LayerRefused(f"There are more than {max_mb} MB; a layer may have as many.")


def _mode(mode: int) -> int:
    return 0o755 if mode & 0o111 else 0o644
