"""How an agent's definition becomes something that runs: the mode decision, and its result.

The table is design.md 5; its public words are those of RunAgents' deploy API (contract §3, §4).
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from msgspec import Struct

from domain.requirements import (
    PROVIDED,
    is_elsewhere,
    normalised,
    requirement_lines,
    split_hashes,
)

type Mode = Literal["INSTANT_RUNTIME", "FAST_OVERLAY", "FULL_BUILD", "IMAGE"]
type BuildProfile = Literal["none", "instant", "fast_overlay", "full"]

# The base environment of a framework, by the names that the framework goes by in a deploy.
FRAMEWORKS = {
    "crewai": "crewai",
    "langchain": "langgraph",
    "langgraph": "langgraph",
    "openai": "openai-agents",
    "openai-agents": "openai-agents",
    "pydantic-ai": "pydantic-ai",
}

# The name, and what is asked of it beyond its being there: extras, versions.
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*([^;#]*)")
LONGEST_SHOWN = 200  # characters of a requirement in a sentence
NODE_SUFFIXES = (".js", ".mjs", ".cjs")

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")
DOCKERFILES = ("Dockerfile", "Containerfile")
SYSTEM_FILES = ("apt.txt", "packages.txt")  # Debian packages, a line each


class SourceDefinition(
    Struct, frozen=True, kw_only=True, tag="source", tag_field="kind", omit_defaults=True
):
    """Source files by relative POSIX path, each the digest of a blob (`sha256:<hex>`)."""

    files: dict[str, str]
    entry_point: str
    requirements: str = ""
    framework: str = ""
    python: str = ""


class ImageDefinition(
    Struct, frozen=True, kw_only=True, tag="image", tag_field="kind", omit_defaults=True
):
    """A container image that is run as it is."""

    image: str


class ConfigurationDefinition(
    Struct, frozen=True, kw_only=True, tag="configuration", tag_field="kind", omit_defaults=True
):
    """No code: a prompt, a model and tools, all of which the deployment's revision holds.

    files: what was sent all the same, as in SourceDefinition; nothing in it is run.
    """

    files: dict[str, str] = {}


type Definition = SourceDefinition | ImageDefinition | ConfigurationDefinition


class Base(Struct, frozen=True, kw_only=True):
    """What a base environment has: the Python version (`3.11`) and packages by normalised name.

    frameworks: the bases that are this one and the packages of a framework on top.
    others: the plain bases of other Pythons, where this one is that of sources that name none.
    node: the name of the base that is Node on the same machine, empty if there is none.
    """

    name: str
    python: str
    packages: Mapping[str, str] = {}
    frameworks: tuple["Base", ...] = ()
    others: tuple["Base", ...] = ()
    node: str = ""


class Installation(Struct, frozen=True, kw_only=True):
    """What an installation can do besides running sources over its bases.

    engine: a container engine builds what wants an environment of its own.
    engine_network: what runs in such a build reaches a package index.
    """

    engine: bool = False
    engine_network: bool = False


class Obstacle(Struct, frozen=True, kw_only=True):
    """Why a source cannot run over any base, and what to do about it, in a sentence each.

    part: what of the definition it is. path: the file, where it is one.
    engine: whether an engine can build it. network: whether that fetches packages.
    """

    part: Literal["files", "requirements", "python"]
    reason: str
    cure: str
    path: str = ""
    engine: bool = False
    network: bool = False

    def stops(self, installation: Installation) -> bool:
        """Whether it cannot be built there."""
        return not (
            self.engine
            and installation.engine
            and (installation.engine_network or not self.network)
        )


class Decision(Struct, frozen=True, kw_only=True):
    """A mode and why. `reason` is a sentence for the person who deployed."""

    mode: Mode
    reason: str

    @property
    def build_required(self) -> bool:
        """Whether a build has to end before the version can run."""
        return self.mode in ("FAST_OVERLAY", "FULL_BUILD")

    @property
    def build_profile(self) -> BuildProfile:
        """The name that RunAgents' clients see."""
        profiles: dict[Mode, BuildProfile] = {
            "INSTANT_RUNTIME": "instant",
            "FAST_OVERLAY": "fast_overlay",
            "FULL_BUILD": "full",
            "IMAGE": "none",
        }
        return profiles[self.mode]


class Image(Struct, frozen=True, kw_only=True):
    """The artifact as a container image (OCI), by the digests of its blobs. layers: from below."""

    manifest: str
    config: str
    layers: list[str]


class Artifact(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The runnable result: a base environment and layers on top of it, addressed by digest.

    base: the base environment's name; empty where the image is all there is.
    source: digest of the source layer; empty of what was deployed as an image.
    dependencies: digest of the dependency layer, empty when the base is enough.
    base_packages: digest of the layer of the base's packages, empty when it has none of its own.
    image: what was deployed, or what can be pulled; None of what was not built.
    image_uri: what the image is pulled by, where it was pushed to a registry of the operator's.
    """

    base: str
    source: str
    dependencies: str = ""
    base_packages: str = ""
    image: Image | None = None
    image_uri: str = ""


def digest_of(data: bytes) -> str:
    """Return how bytes are addressed: `sha256:<64 hex digits>`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def source_digest(files: Mapping[str, str]) -> str:
    """Return the digest of a source layer: of the paths and digests of its files, in order."""
    listing = "".join(f"{files[path]} {path}\n" for path in sorted(files))
    return digest_of(listing.encode())


def instant_artifact(definition: Definition, base: Base) -> Artifact | None:
    """Return what runs without a build: the source over the base; None where there is no source."""
    match definition:
        case SourceDefinition(files=files) if is_node(definition):
            return Artifact(base=base.node, source=source_digest(files))
        case SourceDefinition(files=files, python=python):
            plain = plain_base(python, base) or base
            return Artifact(base=plain.name, source=source_digest(files))
        case ImageDefinition() | ConfigurationDefinition():
            return None


def is_node(definition: SourceDefinition) -> bool:
    """Whether the source is JavaScript, by its entry point."""
    return definition.entry_point.endswith(NODE_SUFFIXES)


def plain_base(python: str, base: Base) -> Base | None:
    """Return the plain base of a version like "3.13", None if there is none; `base` for none."""
    if not python:
        return base
    there = (base, *base.others)
    return next((each for each in there if _same_python(python, each.python)), None)


def chosen_base(definition: SourceDefinition, base: Base) -> Base:
    """Return the base of the framework that is named, over the plain one; else that itself."""
    name = FRAMEWORKS.get(normalised(definition.framework))
    names = (name, f"{name}-{base.name}")
    return next((found for found in base.frameworks if found.name in names), base)


def decide_mode(definition: Definition, base: Base) -> Decision:
    """Return the provisional mode from what the request says; the build worker confirms it."""
    match definition:
        case ImageDefinition(image=image):
            return Decision(mode="IMAGE", reason=f"The image {image} is given; nothing is built.")
        case ConfigurationDefinition():
            return Decision(
                mode="INSTANT_RUNTIME", reason="There is no code; nothing has to be built."
            )
        case SourceDefinition():
            return _decide_source(definition, base)


def _decide_source(definition: SourceDefinition, base: Base) -> Decision:
    obstacle = find_obstacle(definition, base)
    if obstacle:
        return Decision(mode="FULL_BUILD", reason=obstacle.reason)
    if is_node(definition):
        reason = f"{definition.entry_point} runs on {base.node} as it is."
        return Decision(mode="INSTANT_RUNTIME", reason=reason)
    plain = plain_base(definition.python, base) or base
    chosen = chosen_base(definition, plain)
    missing = missing_requirements(definition.requirements, chosen)
    if not missing and chosen is plain:
        return Decision(
            mode="INSTANT_RUNTIME",
            reason=f"The base environment {plain.name} has everything that the source requires.",
        )
    if not missing:
        return Decision(
            mode="FAST_OVERLAY",
            reason=f"The base environment {chosen.name} has everything that the source requires; "
            "its packages are installed when it is first used.",
        )
    framework = f" for {definition.framework}" if definition.framework else ""
    return Decision(
        mode="FAST_OVERLAY",
        reason=f"{_listed(missing)} will be installed from wheels over {chosen.name}{framework}.",
    )


def find_obstacle(definition: SourceDefinition, base: Base) -> Obstacle | None:
    """Return the first thing that asks for an environment of its own, None if nothing does."""
    return next(_obstacles(definition, base), None)


def find_refusal(
    definition: SourceDefinition, base: Base, installation: Installation
) -> Obstacle | None:
    """Return the first obstacle that nothing here can build."""
    found = _obstacles(definition, base)
    return next((each for each in found if each.stops(installation)), None)


def dockerfile_of(files: Iterable[str]) -> str:
    """Return the path of a source's Dockerfile, empty if it has none."""
    return next((path for path in DOCKERFILES if path in files), "")


def _obstacles(definition: SourceDefinition, base: Base) -> Iterator[Obstacle]:
    if path := dockerfile_of(definition.files):
        # It says itself what its environment is made of.
        yield Obstacle(
            part="files",
            path=path,
            reason=f"{path} asks for an environment of its own.",
            cure=f"Leave {path} out (.argosyignore), or have the operator configure a "
            "container engine (ARGOSY_ENGINE).",
            engine=True,
        )
        return
    for path in SYSTEM_FILES:
        if path in definition.files:
            yield Obstacle(
                part="files",
                path=path,
                reason=f"{path} asks for an environment of its own.",
                cure=f"Leave {path} out (.argosyignore), or have the operator configure a "
                "container engine and its network (ARGOSY_ENGINE, ARGOSY_ENGINE_NETWORK).",
                engine=not is_node(definition),
                network=True,
            )
    if is_node(definition):
        yield from _node_obstacles(definition, base)
        return
    if plain_base(definition.python, base) is None:
        yield Obstacle(
            part="python",
            reason=f"Python {definition.python} is required; here is {python_names(base)}.",
            cure="Ask for one that is there, or have the operator install it (ARGOSY_PYTHONS) or "
            "configure a container engine and its network (ARGOSY_ENGINE, ARGOSY_ENGINE_NETWORK).",
            engine=True,
            network=True,
        )
    for number, line in requirement_lines(definition.requirements):
        if is_elsewhere(line):
            yield Obstacle(
                part="requirements",
                reason=f"requirements, line {number}: {_CREDENTIALS.sub('***', line)[:200]!r} "
                "cannot be installed from the package index.",
                cure="Write the name of a package and its version, such as httpx>=0.28; put code "
                "of your own among the source's files.",
            )


def _node_obstacles(definition: SourceDefinition, base: Base) -> Iterator[Obstacle]:
    if not base.node:
        yield Obstacle(
            part="files",
            path=definition.entry_point,
            reason=f"{definition.entry_point} is JavaScript, and this server has no Node.",
            cure="Name an entry point in Python, or have the operator install Node 20 or newer as "
            "/usr/bin/node.",
        )
    if any(requirement_lines(definition.requirements)):
        yield Obstacle(
            part="requirements",
            reason=f"The requirements are Python's, and {definition.entry_point} is JavaScript.",
            cure="Remove them, or name an entry point in Python.",
        )


def python_names(base: Base) -> str:
    """Return the versions of Python that sources can ask for, for people."""
    names = [f"Python {each.python}" for each in (base, *base.others)]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def missing_requirements(requirements: str, base: Base) -> list[str]:
    """Return the requirements that the base may not meet, by name alone; without their hashes.

    Versions and extras are judged by the build worker's resolver: a named version that the base
    happens to have still counts as missing here, which costs a build, never a wrong run.
    """
    return [
        split_hashes(line)[0]
        for _, line in requirement_lines(requirements)
        if (found := _REQUIREMENT.match(line)) is None
        or not _provided(found.group(1), found.group(2).strip(), base)
    ]


def _provided(name: str, demands: str, base: Base) -> bool:
    if normalised(name) in PROVIDED:
        return True
    return not demands and normalised(name) in base.packages


def _same_python(wanted: str, has: str) -> bool:
    """Whether the major and, where it is named, the minor version are the same."""
    numbers = wanted.split(".")[:2]
    return has.split(".")[: len(numbers)] == numbers


def _listed(items: list[str], most: int = 3) -> str:
    shown = ", ".join(item[:LONGEST_SHOWN] for item in items[:most])
    return f"{shown} and {len(items) - most} more" if len(items) > most else shown
