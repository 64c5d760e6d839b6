"""Installing a lock into a dependency layer, once for each lock and base."""

import asyncio
import hashlib
import os
import re
import stat
from pathlib import Path

from msgspec import Struct

from adapters.scratch import scratch_directory
from domain.errors import NotFound
from workers.archives import Contents, LayerRefused
from workers.builder.failures import Failure, explain
from workers.builder.memory import alone, recall, remember
from workers.builder.plan import Lock, show_built
from workers.builder.programs import OUT, Say
from workers.builder.tools import BuildTools
from workers.builder.uv import run_uv

STEP = "install"
KIND = "overlays"
NOTE = "uv_cache.json"
FORMAT = "1"  # what a layer looks like; raise it when installing changes, and all are made anew

_LESS = "Require fewer or smaller packages, or others."
_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")


class Overlay(Struct, frozen=True, kw_only=True):
    """A dependency layer. `contents` is None where it was there already."""

    digest: str
    contents: Contents | None = None


async def find_overlay(tools: BuildTools, lock: Lock) -> str:
    """Return the digest of the lock's layer, ready on this machine; empty if it is to be made.

    A layer that the blob store has no more is to be made: other machines could not fetch it.
    """
    digest = await recall(tools.layers.directory, KIND, overlay_key(tools, lock))
    if digest is None or not _DIGEST.fullmatch(digest):
        return ""
    if not await tools.blobs.has([digest.decode()]):
        return ""
    try:
        await tools.layers.dependencies(digest.decode())
    except NotFound:
        return ""
    return digest.decode()


async def make_overlay(tools: BuildTools, lock: Lock, say: Say) -> Overlay | Failure:
    """Install the lock and store the layer, unless another build does so first.

    Raises Unavailable: the disk is full, or there is no sandbox to be had.
    """
    directory, key = tools.layers.directory, overlay_key(tools, lock)
    async with alone(directory, KIND, key) as waited:
        if waited and (digest := await find_overlay(tools, lock)):
            return Overlay(digest=digest)
        with scratch_directory(directory / "scratch") as scratch:
            tree = scratch / "tree"
            tree.mkdir(mode=0o700)
            scratch.chmod(0o711)  # the sandbox's uid passes; the tree will be its own
            mounts, links = await show_built(tools, lock.built)
            arguments = [*_arguments(tools), *links]
            ran = await run_uv(
                tools, STEP, arguments, say, stdin=lock.text, out=tree, mounts=mounts
            )
            if isinstance(ran, Failure):
                return ran
            if ran.code != 0:
                return explain(STEP, ran.complaint, {}, tools.base.python)
            await asyncio.to_thread(_forget_notes, tree)
            try:
                digest, contents = await tools.layers.keep(tree, max_mb=tools.limits.disk_mb)
            except LayerRefused as error:
                return Failure(step=STEP, detail=error.detail, hint=_LESS)
        await remember(directory, KIND, key, digest.encode())
    return Overlay(digest=digest, contents=contents)


def overlay_key(tools: BuildTools, lock: Lock) -> str:
    """Return what names the layer before it is made: lock, Python tag and platform."""
    parts = (FORMAT, lock.digest, tools.python.tag, tools.python.platform)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _arguments(tools: BuildTools) -> list[str]:
    return [
        *("pip", "install", "-r", "-", "--target", OUT, "--python", tools.python.python),
        *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--compile-bytecode"),
        # A layer owns its files: with hard links, who writes to the cache writes to every layer.
        *("--link-mode", "copy", "--color", "never"),
        *tools.index.arguments,
    ]


def _forget_notes(tree: Path) -> None:
    """Remove uv's own notes. The tree is not trusted yet: no link in it is followed."""
    (tree / ".lock").unlink(missing_ok=True)
    with os.scandir(tree) as entries:
        for entry in entries:
            if entry.name.endswith(".dist-info") and entry.is_dir(follow_symlinks=False):
                Path(entry.path, NOTE).unlink(missing_ok=True)
                _unrecord(Path(entry.path, "RECORD"))


def _unrecord(record: Path) -> None:
    """Remove uv's note, which holds a time, from what a package says it installed."""
    try:
        handle = os.open(record, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # there is none, or it is a link, which no layer may hold
        return
    with os.fdopen(handle, "rb+") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return
        lines = file.readlines()
        kept = [line for line in lines if f"/{NOTE},".encode() not in line]
        if len(kept) < len(lines):
            file.seek(0)
            file.writelines(kept)
            file.truncate()
