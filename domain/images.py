"""Versions of agents as container images: which have one, and by which names it is pulled."""

from collections.abc import Mapping

import msgspec

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


def image_tag(definition: Definition) -> str:
    """Return the tag that an image has before it is built: the same for the same definition."""
    canonical = msgspec.json.encode(definition, order="deterministic")
    return digest_of(canonical).removeprefix("sha256:")[:TAG_DIGITS]


def pullable_tag(version: Version) -> str:
    """Return the tag of an image that there is, or will be if the build succeeds; empty if none."""
    awaited = version.status == "draft" and version.mode in WITH_IMAGE
    return image_tag(version.definition) if awaited or image_of(version) else ""


def image_uri(registry: str, workspace: str, agent: str, tag: str) -> str:
    """Return what is pulled; empty without a registry or a tag. The names are DNS labels."""
    return f"{registry}/{workspace}/{agent}:{tag}" if registry and tag else ""


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
