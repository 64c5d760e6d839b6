"""Versions of agents as container images: which have one, and by which names it is pulled."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from domain.agents import Version
from domain.execution import Definition, Image, Mode, digest_of

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"

# Modes whose builds make an image, too.
WITH_IMAGE: frozenset[Mode] = frozenset({"FAST_OVERLAY", "FULL_BUILD"})

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # our names of machines, and images' own
PORT = 8080  # where an image that speaks HTTP listens (RunAgents contract, 5)

LATEST = "latest"
TAG_DIGITS = 20


class ImageName(Struct, frozen=True, kw_only=True):
    """How a version's image is named, but for the place. tag: empty if there is none.

    pushed: all of its name, where it was pushed to a registry. awaited: it is not built yet.
    """

    tag: str = ""
    pushed: str = ""
    awaited: bool = False


def image_tag(definition: Definition) -> str:
    """Return the tag that an image has before it is built: the same for the same definition."""
    canonical = msgspec.json.encode(definition, order="deterministic")
    return digest_of(canonical).removeprefix("sha256:")[:TAG_DIGITS]


def image_name(version: Version) -> ImageName:
    """Return how the image is named that there is, or will be if the build succeeds."""
    awaited = version.status == "draft" and version.mode in WITH_IMAGE
    pushed = version.artifact.image_uri if version.artifact else ""
    tag = image_tag(version.definition) if awaited or image_of(version) else ""
    return ImageName(tag=tag, pushed=pushed, awaited=awaited)


def image_uri(own: str, pushed_to: str, workspace: str, agent: str, name: ImageName) -> str:
    """Return what is pulled; empty if there is no such thing. The names are DNS labels.

    own: where Argosy serves images. pushed_to: the registry that new ones are pushed to, if any.
    """
    if name.pushed:
        return name.pushed
    registry = pushed_to if name.awaited and pushed_to else own
    return f"{registry}/{workspace}/{agent}:{name.tag}" if registry and name.tag else ""


def tagged(versions: Mapping[int, Version]) -> dict[str, int]:
    """Return the versions that can be pulled by tag, in order of the tags.

    `v<number>` is one version; the definition's tag the newest one of that definition; `latest` the
    newest of all.
    """
    tags: dict[str, int] = {}
    for number in sorted(versions):
        if image_of(versions[number]) is not None:
            tags |= dict.fromkeys((*tags_of(number, versions[number]), LATEST), number)
    return dict(sorted(tags.items()))


def tags_of(number: int, version: Version) -> tuple[str, str]:
    """Return the tags that name one version, whether it has an image or not."""
    return f"v{number}", image_tag(version.definition)


def image_of(version: Version) -> Image | None:
    """Return a version's image, if one was made of it here; not one that was deployed as it is."""
    return version.artifact.image if version.artifact and version.artifact.source else None
