"""Installing a lock into a dependency layer, once for each lock and base."""

import asyncio
import hashlib
import re

from msgspec import Struct

from domain.errors import NotFound
from workers.archives import Contents, LayerRefused
from workers.builder.failures import Failure
from workers.builder.memory import alone, recall, remember
from workers.builder.parts import LESS, STEP, filled, forget_notes, from_parts, uv_install
from workers.builder.plan import Lock, show_built
from workers.builder.programs import OUT, Say
from workers.builder.tools import BuildTools

KIND = "overlays"
FORMAT = "2"  # what a layer looks like; raise it when installing changes, and all are made anew

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
    """Return the lock's layer: installed and stored, unless it is there or another build does so.

    Raises Unavailable: the disk is full, or there is no sandbox to be had.
    """
    if digest := await find_overlay(tools, lock):
        return Overlay(digest=digest)
    directory, key = tools.layers.directory, overlay_key(tools, lock)
    async with alone(directory, KIND, key) as waited:
        if waited and (digest := await find_overlay(tools, lock)):
            return Overlay(digest=digest)
        made = await from_parts(tools, lock, say) or await _together(tools, lock, say)
        if isinstance(made, Failure):
            return made
        digest, contents = made
        await remember(directory, KIND, key, digest.encode())
    return Overlay(digest=digest, contents=contents)


def overlay_key(tools: BuildTools, lock: Lock) -> str:
    """Return what names the layer before it is made: lock, Python tag and platform."""
    parts = (FORMAT, lock.digest, tools.python.tag, tools.python.platform)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


async def _together(tools: BuildTools, lock: Lock, say: Say) -> tuple[str, Contents] | Failure:
    """Install the lock into one tree, where packages may write over each other's files."""
    mounts, links = await show_built(tools, lock.built)
    command = [*uv_install(tools), *links, "--compile-bytecode", "-r", "-", "--target", OUT]
    async with filled(tools, command, say, stdin=lock.text, mounts=mounts) as tree:
        if isinstance(tree, Failure):
            return tree
        await asyncio.to_thread(forget_notes, tree)
        try:
            return await tools.layers.keep(tree, max_mb=tools.limits.disk_mb)
        except LayerRefused as error:
            return Failure(step=STEP, detail=error.detail, hint=LESS)
