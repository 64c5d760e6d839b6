"""Making a version's image: its layers once each, its manifest and configuration every time."""

import asyncio
import hashlib
import io
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path

import msgspec

from adapters.scratch import disk_work, scratch_file
from domain.execution import Artifact, Image, SourceDefinition, digest_of
from workers.builder.memory import alone, recall_as, remember
from workers.builder.oci.manifests import image_config, image_manifest
from workers.builder.oci.systems import library_members, system_key, system_members
from workers.builder.oci.tars import Layer, Member, file_members, tree_members, write_layer
from workers.builder.tools import BuildTools
from workers.harnesses.runtimes import runtime_files
from workers.harnesses.tasks import BASE, DEPENDENCIES, RUNTIME
from workers.pool import SOURCE

KIND = "images"
FORMAT = "1"  # how layers are written; raise it when that changes, and all are made anew

type Members = Callable[[], Awaitable[Iterable[Member]]]


async def make_image(
    tools: BuildTools, agent_name: str, definition: SourceDefinition, artifact: Artifact
) -> tuple[Image, bool]:
    """Return the image, stored, and whether all but the source's layer was there already.

    Raises Unavailable, and NotFound where the blob store has lost a file or layer.
    """
    base, runtime = tools.python, runtime_files()
    parts = [("the system", system_layer_key(tools), _in_thread(system_members, base))]
    for what, digest, place in (
        ("the base's packages", artifact.base_packages, BASE),
        ("the agent's packages", artifact.dependencies, DEPENDENCIES),
    ):
        if digest:
            key = _key(digest, place, system_key(base))
            parts.append((what, key, partial(_packages, tools, digest, place)))
    runtime_key = _key("runtime", *(f"{name} {runtime[name].hex()}" for name in sorted(runtime)))
    parts.append(("argosy", runtime_key, _in_thread(file_members, runtime, RUNTIME)))
    made = await asyncio.gather(*(_kept(tools, key, found) for _, key, found in parts))
    layers = [(what, layer) for (what, *_), (layer, _) in zip(parts, made, strict=True)]
    source, data = await _source(tools, definition)
    layers.append(("the agent's source", source))
    config = image_config(agent_name, definition, artifact, base.python, layers)
    manifest = image_manifest(config, [layer for _, layer in layers])
    _, config_digest, manifest_digest = await tools.blobs.put_all([data, config, manifest])
    image = Image(
        manifest=manifest_digest,
        config=config_digest,
        layers=[layer.digest for _, layer in layers],
    )
    return image, all(known for _, known in made)


def system_layer_key(tools: BuildTools) -> str:
    """Return what the system's layer is remembered by."""
    return _key("system", system_key(tools.python))


async def _kept(tools: BuildTools, key: str, found: Members) -> tuple[Layer, bool]:
    """Return a layer of this machine, made if it is not stored, and whether it was."""
    directory = tools.layers.directory
    known = await _known(tools, key)
    if known:
        return known, True
    async with alone(directory, KIND, key) as waited:
        if waited and (known := await _known(tools, key)):
            return known, True
        members = await found()
        with scratch_file(directory / "scratch") as file, disk_work("Writing an image's layer"):
            diff_id = await asyncio.to_thread(write_layer, members, file)
            file.flush()
            digest = await tools.blobs.put_file(Path(file.name))
            layer = Layer(digest=digest, size=file.tell(), diff_id=diff_id)
        await remember(directory, KIND, key, msgspec.json.encode(layer))
    return layer, False


async def _known(tools: BuildTools, key: str) -> Layer | None:
    layer = await recall_as(tools.layers.directory, KIND, key, Layer)
    return layer if layer and await tools.blobs.has([layer.digest]) else None


async def _source(tools: BuildTools, definition: SourceDefinition) -> tuple[Layer, bytes]:
    """Return the source's layer, and what is to be stored of it.

    Sources are small and many, so nothing is remembered of them.
    """
    contents = await tools.blobs.get_all(list(definition.files.values()))
    files = dict(zip(definition.files, contents, strict=True))
    into = io.BytesIO()
    diff_id = await asyncio.to_thread(write_layer, file_members(files, SOURCE), into)
    data = into.getvalue()
    return Layer(digest=digest_of(data), size=len(data), diff_id=diff_id), data


async def _packages(tools: BuildTools, digest: str, place: str) -> Iterable[Member]:
    tree = await tools.layers.dependencies(digest)
    libraries = await asyncio.to_thread(library_members, tools.python, tree)
    return chain(tree_members(tree, place), libraries)


def _in_thread(make: Callable[..., Iterable[Member]], *given: object) -> Members:
    async def found() -> Iterable[Member]:
        return await asyncio.to_thread(make, *given)

    return found


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join((FORMAT, *parts)).encode()).hexdigest()
