"""The images that a Dockerfile builds upon: fetched as every image is, and handed over.

So the engine asks no registry: a workspace's own credentials are used, each address is judged, and
images that the engine has for others are out of reach.
"""

import asyncio
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from adapters.engines import Engine
from adapters.scratch import disk_work, scratch_directory
from domain.image_references import read_reference
from workers.builder.failures import Failure
from workers.builder.journal import Journal
from workers.builder.oci.tars import Layer
from workers.builder.tools import BuildTools
from workers.images.fetching import Resolved, fetch_image, open_repository, resolve_image

PLACE = "argosy.invalid/parent"  # what they are called in the engine; nobody can serve it


class Parent(Struct, frozen=True):
    """One of them.

    local: its name in the engine. whence: what was resolved, for people. layers: by diff id.
    """

    local: str
    whence: str
    layers: Mapping[str, Layer]


class _Descriptor(Struct, rename="camel"):
    digest: str
    size: int
    media_type: str = ""


class _Manifest(Struct):
    layers: list[_Descriptor]


class _FileSystem(Struct, frozen=True):
    diff_ids: tuple[str, ...] = ()


class _Words(Struct, rename="pascal"):
    on_build: list[str] | None = None


class _Config(Struct):
    rootfs: _FileSystem = _FileSystem()
    config: _Words | None = None


async def take_parent(
    tools: BuildTools, engine: Engine, workspace_id: str, name: str, journal: Journal
) -> Parent | Failure:
    """Have the engine know an image by a name of ours. Raises Unavailable and Invalid."""
    reference = read_reference(name)
    async with open_repository(tools, workspace_id, reference) as repository:
        resolved = await resolve_image(repository, reference)
        if isinstance(resolved, Failure):
            return resolved
        local = f"{PLACE}:{resolved.image.manifest.removeprefix('sha256:')}"
        config = msgspec.json.decode(resolved.config, type=_Config)
        whence = f"{reference} is {resolved.image.manifest}"
        await journal.say(whence)
        if config.config and config.config.on_build:
            return Failure(
                step=journal.step,
                detail=f"{reference} has ONBUILD instructions, which are not followed here.",
                hint="Build upon an image without them.",
            )
        # Also where the engine has it: the registry says whether this workspace may.
        fetched = await fetch_image(tools, repository, workspace_id, resolved, journal.say)
    if isinstance(fetched, Failure):
        return fetched
    if not await engine.has(local):
        await _hand_over(tools, engine, resolved, local)
    return Parent(local, whence, _layers(resolved.manifest, config))


def _layers(manifest: bytes, config: _Config) -> dict[str, Layer]:
    """Return the layers as they are stored, by the digest of what is in them."""
    stored = msgspec.json.decode(manifest, type=_Manifest).layers
    return {
        diff_id: Layer(digest=layer.digest, size=layer.size, diff_id=diff_id)
        for diff_id, layer in zip(config.rootfs.diff_ids, stored, strict=False)
        if layer.media_type.endswith("gzip")
    }


async def _hand_over(tools: BuildTools, engine: Engine, resolved: Resolved, local: str) -> None:
    """Give the engine an image, as `docker save` writes one."""
    with scratch_directory(tools.layers.directory / "scratch") as folder:
        layers = [folder / f"{number}.tar" for number in range(len(resolved.image.layers))]
        for digest, path in zip(resolved.image.layers, layers, strict=True):
            await tools.blobs.fetch(digest, path)
        names = [path.name for path in layers]
        listing = [{"Config": "config.json", "RepoTags": [local], "Layers": names}]
        config = _with_history(resolved.config, len(layers))
        words = {"config.json": config, "manifest.json": msgspec.json.encode(listing)}
        with disk_work("Handing an image to the engine"):
            packed = await asyncio.to_thread(_pack, folder / "image", words, layers)
        with packed.open("rb") as archive:
            await engine.load(archive)


def _with_history(config: bytes, layers: int) -> bytes:
    """Return a configuration with an entry for each layer, without which Podman builds nothing."""
    document: dict[str, Any] = msgspec.json.decode(config)
    history: list[dict[str, Any]] = document.get("history") or []
    if sum(not each.get("empty_layer") for each in history) == layers:
        return config
    return msgspec.json.encode({**document, "history": [{"created_by": "unknown"}] * layers})


def _pack(path: Path, words: Mapping[str, bytes], layers: Sequence[Path]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in words.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for layer in layers:
            archive.add(layer, layer.name)
            layer.unlink()
    return path
