"""The first layer of every image: this machine's interpreter, and no more than that needs.

The interpreter, its standard library, the shared libraries of both and those that wheels may count
on (PEP 600), a shell, certificates, time zones, and the `/etc` of sandboxes: all public files of
the system, and nothing of the machine's own: no configuration, no users, no keys.
"""

import hashlib
import os
import stat
import tarfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from workers.archives import EPOCH
from workers.builder.oci.elf import Needs, closure, find_library, read_needs, usual_folders
from workers.builder.oci.tars import Member, file_member, folder_member
from workers.sandboxes.bases import Base

SHELL = Path("/bin/sh")
ZONES = Path("/usr/share/zoneinfo")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"  # where they are inside
BUNDLES = (CERTIFICATES, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")
# Of wheels' own libraries only these may be missing in them, beside what the interpreter has.
EXPECTED = (
    *("libatomic.so.1", "libdl.so.2", "libexpat.so.1", "libgcc_s.so.1", "libm.so.6"),
    *("libnsl.so.1", "libnss_dns.so.2", "libnss_files.so.2", "libpthread.so.0", "libresolv.so.2"),
    *("librt.so.1", "libstdc++.so.6", "libutil.so.1", "libz.so.1"),
)
# Parts of the standard library that are tests or need a screen; and what is not part of it.
LEFT_OUT = frozenset(
    {"dist-packages", "idlelib", "site-packages", "test", "tests", "tkinter", "turtledemo"}
)
FOLDERS = {"dev": 0o755, "proc": 0o755, "run": 0o755, "sys": 0o755, "tmp": 0o1777}
MAX_LINKS = 40


def system_members(base: Base) -> Iterator[Member]:
    """Yield the layer's members. Files keep their times, by which bytecode is known to be fresh."""
    made = _Tree()
    library = list(_library(base))
    for path in (*closure(_programs(base, library)), *library):
        made.add(path)
    if ZONES.is_dir():
        for path in _files(ZONES, frozenset({"posix", "right"})):
            made.add(path)
    for link in base.symlinks:
        made.link(Path(link.path), link.target)
    for name, mode in FOLDERS.items():
        made.folder(name, mode)
    for name, text in base.files.items():
        made.text(name, text.encode())
    bundle = find_certificates()
    if bundle is not None:
        made.text(CERTIFICATES, bundle.read_bytes())
    return made.members()


def library_members(base: Base, tree: Path) -> Iterator[Member]:
    """Yield the machine's libraries that packages need and neither they nor the system's layer has.

    The packages are not trusted: only names are taken from them, and only looked for where the
    loader looks of its own accord. Else they could have any file of this machine put in.
    """
    files = [path for path in tree.rglob("*") if ".so" in path.name and path.is_file()]
    own = {path.name for path in files}
    named = {name for path in files for name in _found(read_needs(path), own)}
    system = {path.resolve() for path in closure(_programs(base, _library(base)))}
    made = _Tree()
    for path in closure(filter(None, map(find_library, sorted(named)))):
        if path.resolve() not in system:
            made.add(path)
    return made.members()


def _found(needs: Needs, own: Collection[str]) -> list[str]:
    """Return the names that this machine has a library for: of others there may be any number."""
    return [name for name in needs.libraries if name not in own and find_library(name)]


def find_certificates() -> Path | None:
    """Return this machine's bundle of certificates, if it has one."""
    return next(filter(Path.is_file, map(Path, BUNDLES)), None)


def system_key(base: Base) -> str:
    """Return what changes whenever a program that updates this machine has changed the layer.

    Such programs replace files, which the folder's time shows, and do not write into them.
    """
    prefix = Path(base.python).parent.parent
    folders = [*usual_folders(), *_library_folders(base)]
    places = [Path(base.python), SHELL, ZONES, prefix, *map(Path, folders), *map(Path, BUNDLES)]
    places += [Path(folder, "lib-dynload") for folder in _library_folders(base)]
    text = [repr((base.files, base.symlinks))]
    for place in places:
        if place.exists():
            status = place.stat()
            text.append(f"{place} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(text).encode()).hexdigest()


def _programs(base: Base, library: Iterable[Path]) -> list[Path]:
    """Return what is loaded, or may be, and so has to find its libraries."""
    programs = [Path(base.python), Path(base.python).with_name("python3"), SHELL]
    extensions = [path for path in library if path.suffix == ".so"]
    expected = filter(None, map(find_library, EXPECTED))
    return [*filter(Path.exists, programs), *extensions, *expected]


def _library(base: Base) -> Iterator[Path]:
    """Yield the files of the standard library, with the bytecode that this interpreter reads."""
    compiled = f".cpython-{base.version.replace('.', '')}.pyc"
    for folder in _library_folders(base):
        for path in _files(folder, LEFT_OUT):
            if path.name.startswith("_tkinter") or path.suffix == ".a":
                continue
            if path.suffix != ".pyc" or path.name.endswith(compiled):
                yield path


def _library_folders(base: Base) -> list[Path]:
    prefix, name = Path(base.python).parent.parent, f"python{base.version}"
    return [path for lib in ("lib", "lib64") if (path := prefix / lib / name).is_dir()]


def _files(folder: Path, without: Iterable[str]) -> Iterator[Path]:
    """Yield files, and links to what is in the same folder."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - set(without))
        for name in sorted(files):
            path = Path(root, name)
            if not path.is_symlink() or path.resolve().is_relative_to(folder):
                yield path


class _Tree:
    """Members by name. Of links on the way to a file each becomes one inside, too."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}

    def members(self) -> Iterator[Member]:
        """Yield all in order, each folder before what is in it."""
        for name in sorted(self._members, key=lambda each: each.split("/")):
            yield self._members[name]

    def add(self, path: Path) -> None:
        """Take a file, or what a link leads to, and the link. Raises OSError."""
        todo, done = list(reversed(path.parts[1:])), Path("/")
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                done = done.parent
                continue
            here = done / part
            status = here.lstat()
            if stat.S_ISLNK(status.st_mode):
                target, links = str(here.readlink()), links + 1
                if links > MAX_LINKS:
                    raise OSError(f"{path} is a link that leads nowhere")
                self.link(here, target)
                todo += reversed([each for each in Path(target).parts if each != "/"])
                done = Path("/") if target.startswith("/") else done
            elif stat.S_ISDIR(status.st_mode):
                self.folder(str(here).removeprefix("/"))
                done = here
            elif stat.S_ISREG(status.st_mode):
                self._file(here, status)

    def link(self, path: Path, target: str) -> None:
        """Take a link as it is."""
        info = tarfile.TarInfo(str(path).removeprefix("/"))
        info.type, info.linkname, info.mode, info.mtime = tarfile.SYMTYPE, target, 0o777, EPOCH
        self._put(info, None)

    def folder(self, name: str, mode: int = 0o755) -> None:
        """Take a folder, empty or not."""
        self._put(folder_member(name, mode), None)

    def text(self, name: str, content: bytes) -> None:
        """Take a file that is made here."""
        self._put(file_member(name.removeprefix("/"), content), content)

    def _file(self, path: Path, status: os.stat_result) -> None:
        info = tarfile.TarInfo(str(path).removeprefix("/"))
        info.size, info.mtime = status.st_size, int(status.st_mtime)
        info.mode = 0o755 if status.st_mode & 0o111 else 0o644
        self._put(info, path)

    def _put(self, info: tarfile.TarInfo, content: Path | bytes | None) -> None:
        folder = os.path.dirname(info.name)  # noqa: PTH120 - names of members are texts
        if folder and folder not in self._members:
            self.folder(folder)
        self._members.setdefault(info.name, (info, content))
