"""A container image's layers, unpacked one over the other into a directory.

The archives are whoever's may deploy. Nothing of them is followed on this machine: a link in them
leads where it leads for the image's programs, which see no other files. Owners, times, special
modes and extended attributes are forgotten; devices and pipes are left out.
"""

import errno
import gzip
import os
import shutil
import stat
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from workers.archives import UNREADABLE, LayerRefused, check_size, make_folders

ROOT = "root"  # within an image's directory: its file system
CONFIG = "config.json"  # beside it: the image's own words of how it is run
MAX_MB = 4_096
MAX_HEADER_BYTES = 1 << 20  # of what describes one file, and of what describes all
MAX_DEPTH = 256  # folders, one in the other
MAX_LINKS = 40  # on the way to one file
MAX_NAME, MAX_PATH = 255, 4_096  # bytes
OPAQUE, WHITEOUT = ".wh..wh..opq", ".wh."

# What a file system says of names and links that it cannot have; all else is the disk's fault.
_ITS_OWN = frozenset(
    {errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.EMLINK, errno.ENAMETOOLONG}
    | {errno.ENOENT, errno.ENOTDIR}
)
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# What programs look up and our uid is not in; made-up files, as every sandbox has them.
_USER = "agent:x:1000:1000:agent:/tmp:/bin/sh\n"
_HOSTS = "127.0.0.1 localhost\n::1 localhost\n"


def unpack_image(
    config: bytes, layers: Sequence[Path], tree: Path, *, max_mb: int = MAX_MB
) -> None:
    """Fill `tree`, an empty directory, with an image. `layers`: from below. Raises LayerRefused."""
    root = tree / ROOT
    root.mkdir()
    root.chmod(0o755)
    unpacked = _Unpacked(root, max_mb)
    for number, layer in enumerate(layers, 1):
        try:
            with layer.open("rb") as packed:
                unpacked.apply(packed)
        except LayerRefused as refusal:
            raise LayerRefused(f"Layer {number} of {len(layers)}: {refusal.detail}") from None
    _add_user(root)
    (tree / CONFIG).write_bytes(config)


class _Unpacked:
    """A tree to which layers are applied, and how much is in it."""

    def __init__(self, root: Path, max_mb: int) -> None:
        self._root = root
        self._max_mb = max_mb
        self._files = self._size = 0
        self._fresh: set[Path] = set()  # of the layer that is being applied

    def apply(self, packed: BinaryIO) -> None:
        """Apply one layer. Raises LayerRefused."""
        self._fresh = set()
        magic = packed.read(4)
        packed.seek(0)
        if magic == _ZSTD:
            raise LayerRefused("It is compressed with zstd, which is not read here; use gzip.")
        opened = _Forward(gzip.GzipFile(fileobj=packed) if magic.startswith(_GZIP) else packed)
        try:
            archive = tarfile.TarFile(
                fileobj=cast("BinaryIO", opened), tarinfo=_Header, stream=True
            )
            for member in archive:
                self._count(member)
                if sum(map(len, archive.pax_headers.values())) > MAX_HEADER_BYTES:
                    raise LayerRefused(_TOO_MUCH)
                opened.expect(member.size)
                self._take(archive, member)
        except UNREADABLE as error:
            raise LayerRefused(f"The archive cannot be read: {error}") from error
        except OSError as error:
            if error.errno not in _ITS_OWN:
                raise
            raise LayerRefused(f"The archive cannot be unpacked: {error.strerror}.") from error

    def _count(self, member: tarfile.TarInfo) -> None:
        """Count all there is to read, whatever of it is kept."""
        if member.size < 0:
            raise LayerRefused(f"{member.name[:200]!r} has less than no bytes.")
        self._files, self._size = self._files + 1, self._size + member.size
        check_size(self._files, self._size, self._max_mb)

    def _take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = _parts(member.name)
        if not parts:
            return  # the root itself
        folder = self._folder(parts[:-1])
        path = folder / parts[-1]
        if parts[-1] == OPAQUE:
            self._clear(folder)
            return
        if parts[-1].startswith(WHITEOUT):
            hidden = parts[-1].removeprefix(WHITEOUT)
            if hidden in ("", ".", ".."):
                raise LayerRefused(f"{member.name!r} hides nothing that can have a name.")
            self._hide(folder / hidden)
            return
        if not (member.isdir() or member.isreg() or member.issym() or member.islnk()):
            _remove(path)  # a device or a pipe is in its place, which is left out
            return
        self._put(archive, member, path)
        self._fresh.update((path, *path.parents))

    def _put(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        if member.isdir():
            if not _is_folder(path):
                _remove(path)
                path.mkdir()
                path.chmod(0o755)
            return
        if member.islnk():
            target = self._place(_parts(member.linkname))
            if not os.path.lexists(target) or _is_folder(target):
                raise LayerRefused(f"{member.name!r} is a link to a file that is not there.")
            if target != path:
                _remove(path)
                os.link(target, path, follow_symlinks=False)
            return
        _remove(path)
        if member.issym():
            if not member.linkname or "\0" in member.linkname or len(member.linkname) >= MAX_PATH:
                raise LayerRefused(f"{member.name!r} is a link to nothing that has a name.")
            path.symlink_to(member.linkname)
            return
        content = archive.extractfile(member)
        assert content is not None  # it is a regular file
        with content, path.open("xb") as file:
            shutil.copyfileobj(content, file)
            if file.tell() != member.size:
                raise LayerRefused(f"The archive ends within {member.name!r}.")
        path.chmod(0o755 if member.mode & 0o111 else 0o644)

    def _place(self, parts: Sequence[str]) -> Path:
        if not parts:
            raise LayerRefused("A link leads to the root directory.")
        return self._folder(parts[:-1]) / parts[-1]

    def _folder(self, parts: Sequence[str]) -> Path:
        """Return a directory of the tree, made where it is missing.

        Links are followed as the image's programs would: none leads out of the tree.
        """
        pending, path, links = list(reversed(parts)), self._root, 0
        while pending:
            part = pending.pop()
            if part == "..":
                path = path.parent if path != self._root else path
                continue
            below = path / part
            if below.is_symlink():
                links += 1
                if links > MAX_LINKS:
                    raise LayerRefused(f"{'/'.join(parts)!r} leads through too many links.")
                target = str(below.readlink())
                path = self._root if target.startswith("/") else path
                pending += reversed([each for each in target.split("/") if each not in ("", ".")])
                continue
            if os.path.lexists(below) and not below.is_dir():
                raise LayerRefused(f"{'/'.join(parts)!r} is below a file.")
            if len(below.parts) - len(self._root.parts) > MAX_DEPTH:
                raise LayerRefused(f"{'/'.join(parts)[:200]!r} is below too many folders.")
            make_folders(below)
            path = below
        return path

    def _clear(self, folder: Path) -> None:
        """Remove what layers below this one have put into a directory."""
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in entries]
        for path in found:
            self._hide(path)

    def _hide(self, path: Path) -> None:
        """Remove what layers below this one have put at a place."""
        if path not in self._fresh:
            _remove(path)
        elif _is_folder(path):
            self._clear(path)


_TOO_MUCH = f"A file is described by more than {MAX_HEADER_BYTES >> 20} MB."


class _Header(tarfile.TarInfo):
    """A member's header; `tarfile` would take one that is damaged for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        """Read a header. Raises HeaderError at the end, and LayerRefused."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise LayerRefused(f"The archive cannot be read: {error}") from None
            raise


class _Forward:
    """What `tarfile` reads from: only forward, and no more than is expected.

    Going back in a compressed file would unpack all of it again; and what says of itself that it is
    a description of a gigabyte would be held in memory.
    """

    def __init__(self, opened: "BinaryIO | gzip.GzipFile") -> None:
        self._opened = opened
        self._position = 0
        self._left = MAX_HEADER_BYTES

    def expect(self, size: int) -> None:
        """Have a file of this size come next, and another's header."""
        self._left = size + MAX_HEADER_BYTES

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._left:
            raise LayerRefused(_TOO_MUCH)
        data = self._opened.read(size)
        self._position += len(data)
        self._left -= len(data)
        return data

    def seek(self, position: int, whence: int = 0) -> int:
        if whence != 0 or position < self._position:
            raise LayerRefused("The archive cannot be read from its beginning to its end.")
        while self._position < position:
            if not self.read(min(64 * 1024, position - self._position)):
                break
        return self._position


def _parts(name: str) -> list[str]:
    """Return a name's parts. Raises LayerRefused for one that leads out of the tree."""
    parts = [part for part in PurePosixPath(name.lstrip("/")).parts if part != "."]
    if ".." in parts or "\0" in name:
        raise LayerRefused(f"{name[:200]!r} is not a path within an image.")
    try:
        longest = max((len(part.encode()) for part in parts), default=0)
    except UnicodeEncodeError:
        raise LayerRefused(f"{name[:200]!r} is not UTF-8.") from None
    if longest > MAX_NAME or len(name.encode()) > MAX_PATH:
        raise LayerRefused(f"{name[:200]!r}… is too long a name.")
    return parts


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove(path: Path) -> None:
    """Remove whatever is there; links are removed, never followed."""
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def _add_user(root: Path) -> None:
    """Have our uid looked up and `localhost` found, in a directory that may hold anything."""
    etc = root / "etc"
    if os.path.lexists(etc) and not _is_folder(etc):
        return
    make_folders(etc)
    for name, line in (("passwd", _USER), ("group", "agent:x:1000:\n"), ("hosts", _HOSTS)):
        path = etc / name
        known = ""
        if os.path.lexists(path):
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_HEADER_BYTES:
                continue
            known = path.read_text(errors="replace")
        if name != "hosts" and any(":1000:" in each for each in known.splitlines()):
            continue
        if known and not known.endswith("\n"):
            known += "\n"
        _remove(path)  # not what else has the same content by a hard link
        path.write_text(line if name == "hosts" else known + line)
        path.chmod(0o644)
