"""A version by a container engine: from a Dockerfile to an image whose blobs we keep.

What comes out is kept and run as every image is (see `workers.images`); the engine only builds.
"""

import asyncio
import gzip
import hashlib
import tarfile
from collections import ChainMap
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from adapters.engines import BuildFailed, Engine, TooLarge
from adapters.scratch import disk_work, scratch_directory
from domain.builds import BuildRequested
from domain.errors import Unavailable
from domain.execution import Image
from workers.archives import COMPRESSION
from workers.builder.engine.parents import Parent
from workers.builder.engine.processes import end_programs
from workers.builder.engine.recipes import Recipe
from workers.builder.failures import MAX_LINE, Failure, last_output
from workers.builder.indexes import masked
from workers.builder.journal import Journal
from workers.builder.oci.manifests import image_manifest
from workers.builder.oci.tars import Layer, file_members, write_layer
from workers.builder.tools import BuildTools

PLACE = "argosy.invalid/build"
LABEL = "dev.argosy.build"
PERIOD = 100_000  # microseconds, of which a build may use its share of each processor
STEP = "STEP "  # what a line begins with that tells of the next instruction, in any case


class _Listed(Struct, rename="pascal"):
    """An image in an archive, as `docker save` writes it: the names of its parts."""

    config: str
    layers: list[str]


class _FileSystem(Struct):
    diff_ids: list[str]


class _Config(Struct):
    rootfs: _FileSystem


class EngineBuild:
    """One build by an engine; nothing of it stays there. All raise Unavailable."""

    def __init__(
        self, tools: BuildTools, engine: Engine, request: BuildRequested, journal: Journal
    ) -> None:
        self._tools = tools
        self._engine = engine
        self._journal = journal
        self._name = f"{PLACE}:{request.build_id.lower()}"
        self._group = f"argosy_build_{request.build_id.lower()}.slice"
        self._scratch = tools.layers.directory / "scratch"

    async def run(self, recipe: Recipe, parents: Mapping[str, Parent]) -> Image | Failure:
        """Build the image and keep its blobs. What a killed builder left goes with its retry."""
        engine, journal = self._engine, self._journal
        try:
            await asyncio.to_thread(end_programs, self._group)
            await engine.remove_old(LABEL, self._tools.limits.seconds)
            await journal.enter("build")
            failure = await self._build(recipe, parents)
            if failure:
                return failure
            await journal.enter("store")
            return await self._keep(ChainMap(*(dict(each.layers) for each in parents.values())))
        finally:
            await asyncio.to_thread(end_programs, self._group)
            await engine.remove(self._name)

    async def _build(self, recipe: Recipe, parents: Mapping[str, Parent]) -> Failure | None:
        names = {image: each.local for image, each in parents.items()}
        files = {**recipe.files, recipe.path: recipe.dockerfile.with_images(names).encode()}
        with scratch_directory(self._scratch) as folder:
            packed = folder / "context"
            with disk_work("Writing what a container engine builds"):
                await asyncio.to_thread(_pack, files, packed)
            with packed.open("rb") as context:
                return await self._hear(self._engine.build(context, **self._options(recipe.path)))

    def _options(self, path: str) -> dict[str, str]:
        limits = self._tools.limits
        memory = str(limits.memory_mb << 20)
        return {
            "t": self._name,
            "dockerfile": path,
            "labels": msgspec.json.encode({LABEL: "1"}).decode(),
            "networkmode": self._tools.settings.engine_network,
            "memory": memory,
            "memswap": memory,  # together with it, so none of it is swap
            "cpuperiod": str(PERIOD),
            "cpuquota": str(round(limits.cpu * PERIOD)),
            "cgroupparent": self._group,  # with this ending also where systemd makes them
            "rm": "1",
            "forcerm": "1",
        }

    async def _hear(self, printed: AsyncGenerator[str]) -> Failure | None:
        """Write what is printed into the log; the failure names the instruction."""
        journal, most = self._journal, self._tools.limits.output_kb << 10
        instruction = pending = ""
        try:
            async with aclosing(printed):
                async for text in printed:
                    *lines, pending = (pending + text[:most]).split("\n")
                    most -= len(text[:most])
                    for line in filter(None, map(_readable, lines)):
                        if line.upper().startswith(STEP):
                            instruction = line
                        await journal.hear(line)
        except BuildFailed as failed:
            where = f"{instruction}: " if instruction else ""
            return Failure(
                step=journal.step,
                detail=f"{where}{_readable(str(failed))[:1000]}.{last_output(journal.heard)}",
                hint="Mend the Dockerfile at this instruction. What runs in it reaches no network "
                "but the one that the operator has chosen (ARGOSY_ENGINE_NETWORK).",
            )
        return None

    async def _keep(self, known: Mapping[str, Layer]) -> Image | Failure:
        """Store the image's blobs. known: those that are stored, by diff id."""
        limits = self._tools.limits
        with scratch_directory(self._scratch) as folder:
            saved = folder / "saved"
            try:
                with saved.open("wb") as into, disk_work("Taking an image from the engine"):
                    await self._engine.save(self._name, into, limits.disk_mb << 20)
            except TooLarge:
                return Failure(
                    step=self._journal.step,
                    detail=f"The image has more than {limits.disk_mb} MB.",
                    hint="Build upon a smaller image, or install less.",
                )
            with tarfile.open(saved, "r:") as archive, disk_work("Writing an image's layers"):
                config, names = await asyncio.to_thread(_listed, archive)
                diff_ids = msgspec.json.decode(config, type=_Config).rootfs.diff_ids
                layers = [
                    known.get(diff_id) or await self._layer(archive, name, diff_id, folder / "new")
                    for diff_id, name in zip(diff_ids, names, strict=True)
                ]
        manifest = image_manifest(config, layers)
        config_digest, manifest_digest = await self._tools.blobs.put_all([config, manifest])
        digests = [layer.digest for layer in layers]
        return Image(manifest=manifest_digest, config=config_digest, layers=digests)

    async def _layer(
        self, archive: tarfile.TarFile, name: str, diff_id: str, scratch: Path
    ) -> Layer:
        size = await asyncio.to_thread(_compress, archive, name, diff_id, scratch)
        digest = await self._tools.blobs.put_file(scratch)
        await self._journal.say(f"Layer {digest}, {size / 1e6:.1f} MB")
        return Layer(digest=digest, size=size, diff_id=diff_id)


def _pack(files: Mapping[str, bytes], packed: Path) -> None:
    with packed.open("wb") as into:
        write_layer(file_members(files, ""), into)


def _readable(line: str) -> str:
    return masked(line.rstrip())[:MAX_LINE]


def _listed(archive: tarfile.TarFile) -> tuple[bytes, Sequence[str]]:
    """Return an image's configuration and the names of its layers' archives, from below."""
    (image,) = msgspec.json.decode(_file(archive, "manifest.json").read(), type=list[_Listed])
    return _file(archive, image.config).read(), image.layers


def _compress(archive: tarfile.TarFile, name: str, diff_id: str, into: Path) -> int:
    """Write a layer's archive, compressed, to a file; returns its size. Raises Unavailable."""
    hasher = hashlib.sha256()
    with into.open("wb") as raw, _file(archive, name) as layer:
        with gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as packed:
            while piece := layer.read(1 << 20):
                hasher.update(piece)
                packed.write(piece)
        size = raw.tell()
    if f"sha256:{hasher.hexdigest()}" != diff_id:
        raise Unavailable(f"The container engine handed out something else than layer {diff_id}.")
    return size


def _file(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        raise tarfile.ReadError(f"{name} is no file")
    return file
