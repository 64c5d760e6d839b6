"""An image from its registry into the blob store: resolved to a digest once, then kept as it is.

The image's own blobs are what is kept, under their own digests. So no other machine asks the
registry, and a registry that is gone, or a tag that moves, changes nothing of what was deployed.
"""

import platform
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct

from adapters.blobs import digest_parts
from adapters.scratch import disk_work, scratch_file
from adapters.settings import Settings
from domain.execution import Image
from domain.image_references import Reference
from domain.images import ARCHITECTURES
from workers.archives import LayerRefused
from workers.builder.failures import Failure
from workers.builder.memory import recall, remember
from workers.builder.programs import Say
from workers.builder.tools import BuildTools
from workers.gateway.http_outbound import open_http_outbound
from workers.images.programs import MAX_CONFIG_BYTES, read_config, read_program
from workers.images.registries import (
    INDEXES,
    MANIFESTS,
    FetchFailed,
    Manifest,
    Repository,
)

KIND = "fetched"  # what builders of this machine remember
MAX_LAYERS = 128

_PUSH_AGAIN = "Push an image of this format: OCI, or Docker's schema 2."


class _Platform(Struct):
    architecture: str = ""
    os: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


class _Descriptor(Struct, rename="camel"):
    digest: str
    media_type: str = ""
    size: int = 0
    platform: _Platform | None = None


class _Index(Struct):
    manifests: list[_Descriptor]


class _Image(Struct):
    config: _Descriptor
    layers: list[_Descriptor]


class Resolved(Struct, frozen=True):
    """An image that is there, and what of it is to be fetched. manifest: its bytes."""

    image: Image
    manifest: bytes
    config: bytes
    bytes: int
    platform: str


def here() -> str:
    """Return this machine's platform, as images name it."""
    machine = platform.machine()
    return f"linux/{ARCHITECTURES.get(machine, machine)}"


@asynccontextmanager
async def open_repository(
    tools: BuildTools, workspace_id: str, reference: Reference
) -> AsyncGenerator[Repository]:
    """Open the image's repository for one build. Raises Invalid for a setting."""
    settings = tools.settings
    async with open_http_outbound(settings) as outbound:
        yield Repository(
            outbound,
            reference,
            insecure=is_insecure(settings, reference.host),
            credential=await tools.login(workspace_id, reference.host),
        )


def is_insecure(settings: Settings, host: str) -> bool:
    """Whether the operator says that a registry has no TLS."""
    return host in [each.strip().lower() for each in settings.insecure_registries.split(",")]


async def resolve_image(repository: Repository, reference: Reference) -> Resolved | Failure:
    """Ask the registry what the reference means now, on this machine's platform."""
    try:
        found = await repository.manifest(reference.digest or reference.tag)
        if found.media_type in INDEXES:
            digest = _of_platform(found, reference)
            found = await repository.manifest(digest)
        image, digests = _parts(found)
        data = await repository.small_blob(image.config.digest, MAX_CONFIG_BYTES)
        config = read_config(data)
        theirs = f"{config.os}/{config.architecture}"
        if theirs != here():
            return _other_platform(reference, theirs)
    except FetchFailed as error:
        return error.failure
    except LayerRefused as refusal:
        return Failure(step="resolve", detail=refusal.detail, hint=_PUSH_AGAIN)
    except (msgspec.MsgspecError, RecursionError) as error:
        detail = f"The manifest of {reference} cannot be read: {error}"
        return Failure(step="resolve", detail=detail, hint=_PUSH_AGAIN)
    return Resolved(
        image=Image(manifest=found.digest, config=digests[0], layers=digests[1:]),
        manifest=found.data,
        config=data,
        bytes=sum(max(0, layer.size) for layer in image.layers),
        platform=theirs,
    )


def check_program(step: str, config: bytes) -> Failure | None:
    """Say if an image does not say what is to be started."""
    try:
        read_program(read_config(config))
    except LayerRefused as refusal:
        return Failure(step=step, detail=refusal.detail, hint=_PUSH_AGAIN)
    return None


async def fetch_image(
    tools: BuildTools,
    repository: Repository,
    workspace_id: str,
    resolved: Resolved,
    say: Say,
) -> bool | Failure:
    """Put the image's blobs into the blob store; returns whether all of them were there.

    What this workspace has fetched from the same repository before is not fetched again; that
    another one has it is no reason, for it may have been allowed more.
    """
    repository.step = "fetch"
    directory, left = tools.layers.directory, tools.limits.disk_mb << 20
    was_there = True
    try:
        if resolved.bytes > left:
            repository.too_large(left)
        await tools.blobs.put_all([resolved.manifest, resolved.config])
        for number, digest in enumerate(resolved.image.layers, 1):
            names = f"{workspace_id}\n{repository.name}\n{digest}"
            key = sha256(names.encode()).hexdigest()
            known = await recall(directory, KIND, key) is not None
            if known and digest in await tools.blobs.has([digest]):
                continue
            was_there = False
            with scratch_file(directory / "scratch") as file, disk_work("Fetching an image"):
                size = await repository.blob(digest, Path(file.name), left)
                left -= size
                await tools.blobs.put_file(Path(file.name))
            count = len(resolved.image.layers)
            await say(f"Layer {number} of {count}: {digest}, {size / 1e6:.1f} MB")
            await remember(directory, KIND, key, b"")
    except FetchFailed as error:
        return error.failure
    return was_there


async def unpack_image(tools: BuildTools, image: Image) -> Failure | None:
    """Unpack it on this machine, which shows whether it can be."""
    try:
        await tools.layers.image(image, max_mb=tools.limits.disk_mb)
    except LayerRefused as refusal:
        return Failure(
            step="unpack",
            detail=f"The image cannot be unpacked. {refusal.detail}",
            hint="Build the image again, smaller or with other files.",
        )
    return None


def _parts(found: Manifest) -> tuple[_Image, list[str]]:
    """Return an image's manifest, and the digests of its configuration and layers."""
    if found.media_type not in MANIFESTS:
        raise LayerRefused(f"This is no image, but {found.media_type!r}.")
    image = msgspec.json.decode(found.data, type=_Image)
    if not 0 < len(image.layers) <= MAX_LAYERS:
        raise LayerRefused(f"The image has {len(image.layers)} layers, not 1 to {MAX_LAYERS}.")
    digests = [image.config.digest, *(layer.digest for layer in image.layers)]
    if not all(digest_parts(digest) for digest in digests):
        raise LayerRefused("The image names its parts by something else than SHA-256.")
    return image, digests


def _of_platform(found: Manifest, reference: Reference) -> str:
    """Return the digest of an index's image for this machine. Raises FetchFailed."""
    offered = msgspec.json.decode(found.data, type=_Index).manifests
    for each in offered:
        if each.platform and f"{each.platform.os}/{each.platform.architecture}" == here():
            if not digest_parts(each.digest):
                break
            return each.digest
    names = sorted({str(each.platform) for each in offered if each.platform})
    raise FetchFailed(_other_platform(reference, ", ".join(names[:10]) or "none"))


def _other_platform(reference: Reference, theirs: str) -> Failure:
    return Failure(
        step="resolve",
        detail=f"The image {reference} is for {theirs}; this server runs {here()}.",
        hint=f"Build and push it for {here()} (`docker build --platform {here()}`).",
    )
