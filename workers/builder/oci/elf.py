"""What a program or library needs to be loaded, read from its file; never run.

Files of packages are read, too, and may say anything: what a reader takes is limited by `MAX_…`.
"""

import os
import platform
import struct
from collections.abc import Iterable, Iterator
from functools import cache
from mmap import ACCESS_READ, mmap
from pathlib import Path

from msgspec import Struct

MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little endian: all that these machines have
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS, _RPATH, _RUNPATH = 1, 5, 15, 29
MAX_ENTRIES = 1024  # of a table; libraries have 20 to 60 entries, and a dozen segments
MAX_TEXT = 4096  # bytes, as long as paths are
MAX_NAME = 255  # bytes, as long as files' names are
_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_ENTRY = struct.Struct("<qQ")


class Needs(Struct, frozen=True):
    """interpreter: the loader's path, empty for a library. folders: searched before all others."""

    interpreter: str = ""
    libraries: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


def read_needs(path: Path) -> Needs:
    """Return what a file needs; nothing if it is no ELF file, or a damaged one."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return Needs()
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            try:
                return _read(data, path.parent)
            except (struct.error, ValueError, OverflowError):  # it is damaged
                return Needs()


def closure(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield programs, libraries, and all that those need, each once.

    What is not on this machine is left out: who loads it would fail here, too.
    """
    pending, seen = list(paths), set[Path]()
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        yield path
        needs = read_needs(path)
        if needs.interpreter:
            pending.append(Path(needs.interpreter))
        found = (find_library(name, needs.folders) for name in needs.libraries)
        pending.extend(library for library in found if library is not None)


def find_library(name: str, folders: tuple[str, ...] = ()) -> Path | None:
    """Return where the loader finds a library without a cache of its own; None if nowhere.

    A name that is a path is none: the file may have been made to name any other.
    """
    if "/" in name or not name or len(os.fsencode(name)) > MAX_NAME:
        return None
    for folder in (*folders, *usual_folders()):
        path = Path(folder, name)
        if path.is_file():
            return path
    return None


@cache
def usual_folders() -> tuple[str, ...]:
    """Return where the loader looks for libraries, of its own accord."""
    triplet = f"{platform.machine()}-linux-gnu"
    folders = (f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
    return tuple(folder for folder in folders if Path(folder).is_dir())


def _read(data: mmap, folder: Path) -> Needs:
    _, _, _, _, offset, _, _, _, size, count, _, _, _ = _HEADER.unpack_from(data)
    places = range(offset, offset + min(count, MAX_ENTRIES) * size, size) if size else ()
    segments = [_SEGMENT.unpack_from(data, place) for place in places]
    interpreter, entries = "", list[tuple[int, int]]()
    for kind, _, start, _, _, length, _, _ in segments:
        if kind == _INTERPRETER:
            interpreter = _text(data, start)
        elif kind == _DYNAMIC:
            table = data[start : start + min(length // _ENTRY.size, MAX_ENTRIES) * _ENTRY.size]
            entries = list(_ENTRY.iter_unpack(table))
    strings = next((value for tag, value in entries if tag == _STRINGS), 0)
    for kind, _, start, address, _, length, _, _ in segments:
        if kind == _LOAD and address <= strings < address + length:
            strings = start + strings - address
            break
    named = [(tag, _text(data, strings + value)) for tag, value in entries if tag in _NAMED]
    searched = (text for tag, text in named if tag != _NEEDED)
    folders = [each for text in searched for each in text.split(":") if each]
    return Needs(
        interpreter=interpreter,
        libraries=tuple(text for tag, text in named if tag == _NEEDED),
        folders=tuple(
            each.replace("${ORIGIN}", str(folder)).replace("$ORIGIN", str(folder))
            for each in folders
        ),
    )


_NAMED = frozenset({_NEEDED, _RPATH, _RUNPATH})


def _text(data: mmap, start: int) -> str:
    end = data.find(b"\0", start, start + MAX_TEXT + 1)
    if end < start:
        raise ValueError("a text has no end, or is too long for one")
    return data[start:end].decode("utf-8", "surrogateescape")
