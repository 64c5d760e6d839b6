"""Layers of images as lists of members: written as archives, and applied by a simple model.

The model is the OCI layer specification in plain Python, with what unpacking here adds: nothing
leads out, devices and pipes are left out, owners and most modes are forgotten.
"""

import io
import tarfile
from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct

MAX_BYTES = 1 << 20
MAX_LINKS = 40
_KEPT = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)


class Refused(Exception):
    """The layer may not be used."""


class Written(Struct, frozen=True):
    """One member. size: what its header says; None for what it has."""

    name: str
    kind: bytes = tarfile.REGTYPE
    content: bytes = b""
    target: str = ""
    mode: int = 0o644
    size: int | None = None


class Node(Struct):
    """A file, link or folder; two names may be of one file. `layers`: by whom a name was put."""

    kind: bytes
    content: bytes = b""
    target: str = ""
    executable: bool = False
    below: dict[str, "Node"] = {}
    layers: dict[str, int] = {}

    def drop(self, name: str) -> None:
        """Remove a name, if it is there."""
        self.below.pop(name, None)
        self.layers.pop(name, None)


def archive(members: Sequence[Written]) -> bytes:
    """Return a layer's archive."""
    packed = io.BytesIO()
    for member in members:
        info = tarfile.TarInfo(member.name)
        info.type, info.linkname, info.mode = member.kind, member.target, member.mode
        info.size = len(member.content) if member.size is None else member.size
        packed.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        packed.write(member.content + bytes(-len(member.content) % tarfile.BLOCKSIZE))
    return packed.getvalue() + bytes(2 * tarfile.BLOCKSIZE)


class Model:
    """A tree to which layers are applied."""

    def __init__(self) -> None:
        self.root = Node(tarfile.DIRTYPE)
        self._layer = 0
        self._bytes = 0

    def apply(self, members: Sequence[Written]) -> None:
        """Apply a layer. Raises Refused."""
        self._layer += 1
        for member in members:
            size = len(member.content) if member.size is None else member.size
            self._bytes += size
            if size < 0 or self._bytes > MAX_BYTES:
                raise Refused
            self._take(member)

    def _take(self, member: Written) -> None:
        parts = _parts(member.name)
        if not parts:
            return
        way, name = self._way(parts[:-1]), parts[-1]
        folder = way[-1][1]
        if name == ".wh..wh..opq":
            self._clear(folder)
        elif name.startswith(".wh."):
            if name in (".wh.", ".wh..", ".wh..."):
                raise Refused
            self._hide(folder, name.removeprefix(".wh."))
        elif member.kind not in _KEPT:
            folder.drop(name)
        else:
            self._put(folder, name, member)
            for (_, above), (step, _) in pairwise(way):
                above.layers[step] = self._layer
            folder.layers[name] = self._layer

    def _put(self, folder: Node, name: str, member: Written) -> None:
        old = folder.below.get(name)
        if member.kind == tarfile.DIRTYPE and old and old.kind == tarfile.DIRTYPE:
            return
        new = Node(
            member.kind,
            member.content,
            member.target,
            executable=bool(member.mode & 0o111) and member.kind == tarfile.REGTYPE,
        )
        if member.kind == tarfile.SYMTYPE and not 0 < len(member.target.encode()) < 4096:
            raise Refused
        if member.kind == tarfile.LNKTYPE:
            parts = _parts(member.target)
            if not parts:
                raise Refused
            there = self._way(parts[:-1])[-1][1]
            found = there.below.get(parts[-1])
            if found is None or found.kind == tarfile.DIRTYPE:
                raise Refused
            if old and old.kind == tarfile.DIRTYPE and _is_below(there, old):
                raise Refused  # it would be a link to what it takes away
            new = found
        if member.kind == tarfile.DIRTYPE or new is not old:
            folder.drop(name)
        folder.below[name] = new

    def _way(self, parts: Sequence[str]) -> list[tuple[str, Node]]:
        """Return names and folders from the root on, made where they are missing."""
        way, links, pending = [("", self.root)], 0, list(parts)
        while pending:
            part = pending.pop(0)
            if part == "..":
                way = way[:-1] or way
                continue
            above = way[-1][1]
            found = above.below.get(part)
            if found is None:
                found = above.below[part] = Node(tarfile.DIRTYPE)
            if found.kind == tarfile.SYMTYPE:
                links += 1
                if links > MAX_LINKS:
                    raise Refused
                way = way[:1] if found.target.startswith("/") else way
                pending[:0] = [each for each in found.target.split("/") if each not in ("", ".")]
            elif found.kind == tarfile.DIRTYPE:
                way.append((part, found))
            else:
                raise Refused
        return way

    def _clear(self, folder: Node) -> None:
        for name in list(folder.below):
            self._hide(folder, name)

    def _hide(self, folder: Node, name: str) -> None:
        """Remove what is of layers below."""
        found = folder.below.get(name)
        if folder.layers.get(name, 0) < self._layer:
            folder.drop(name)
        elif found and found.kind == tarfile.DIRTYPE:
            self._clear(found)

    def seen(self) -> dict[str, tuple[str, object]]:
        """Return all that is there, by path, as `tests.fuzzing.test_images` sees it on the disk."""
        found: dict[str, tuple[str, object]] = {}
        pending = [("", self.root)]
        while pending:
            prefix, folder = pending.pop()
            for name, node in folder.below.items():
                if node.kind == tarfile.DIRTYPE:
                    found[prefix + name] = ("folder", None)
                    pending.append((f"{prefix}{name}/", node))
                elif node.kind == tarfile.SYMTYPE:
                    found[prefix + name] = ("link", node.target)
                else:
                    found[prefix + name] = ("file", (node.content, node.executable))
        return found


def _is_below(node: Node, folder: Node) -> bool:
    return node is folder or any(
        _is_below(node, each) for each in folder.below.values() if each.kind == tarfile.DIRTYPE
    )


def _parts(name: str) -> list[str]:
    parts = [each for each in name.split("/") if each not in ("", ".")]
    if ".." in parts or "\0" in name or any(len(each.encode()) > 255 for each in parts):
        raise Refused
    return parts
