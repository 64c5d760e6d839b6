"""Resolving requirements for real: what to install, exactly, for the base's Python and platform.

The result is a lock: names, versions and hashes, and nothing of the index it came from. Only wheels
are chosen from: those of the index, and those that were built from source before.
"""

import hashlib
import time
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from adapters.pins import Pinned, read_pins
from domain.errors import NotFound
from domain.execution import Base, digest_of
from domain.requirements import PROVIDED
from workers.builder.failures import Failure, explain
from workers.builder.memory import recall_as, remember
from workers.builder.programs import Say
from workers.builder.requirements import Requirements, Wanted
from workers.builder.tools import BuildTools
from workers.builder.uv import PROGRAM, run_beside_uv
from workers.sandboxes.driver import Mount

REMEMBER_SECONDS = 600  # as long as PyPI lets its answers be cached
STEP = "resolve"
KIND = "resolutions"
PINS = "/etc/argosy-pins.txt"
BUILT = "/built"


class Built(Struct, frozen=True):
    """A wheel that was built from source. `layer`: digest of the layer that has it, and only it.

    sdist: the SHA-256 (hex) of what it was built from.
    """

    name: str
    version: str
    layer: str
    sdist: str


class Lock(Struct, frozen=True):
    """What to install. `at`: when it was resolved, seconds since the epoch.

    built: the wheels among it that no index has.
    """

    packages: tuple[Pinned, ...]
    at: float
    built: tuple[Built, ...] = ()

    @property
    def text(self) -> str:
        """The lock as a requirements text with hashes, the same for equal locks."""
        return "".join(package.text for package in self.packages)

    @property
    def digest(self) -> str:
        """The lock's digest; empty if there is nothing to install."""
        return digest_of(self.text.encode()) if self.packages else ""


async def resolve(
    tools: BuildTools,
    base: Base,
    requirements: Requirements,
    say: Say,
    built: tuple[Built, ...] = (),
) -> Lock | Failure:
    """Ask the index, or remember what it answered within the last 10 minutes.

    Packages that the base has in just that version are left out. Those of a framework's base are
    pins: a requirement that wants another version of one cannot be met over it. `built` are
    wheels to choose from besides those of the index; the lock has those that were chosen.
    """
    directory, key = tools.layers.directory, _key(tools, base, requirements)
    known = None if built else _fresh(await recall_as(directory, KIND, key, Lock))
    if known is not None and await _are_there(tools, known.built):
        await say(f"Resolved {time.time() - known.at:.0f} s ago: {_counted(known)}")
        return known
    asked = "".join(f"{wanted.text}\n" for wanted in requirements.wanted)
    pins = "".join(f"{name}=={version}\n" for name, version in base.packages.items())
    files = {} if base is tools.base else {PINS: pins}
    mounts, links = await show_built(tools, built)
    arguments = [*_arguments(tools), *links, *(["--constraints", PINS] if files else [])]
    ran = await run_beside_uv(tools, STEP, arguments, say, stdin=asked, files=files, mounts=mounts)
    if isinstance(ran, Failure):
        return ran
    by_name = requirements.by_name()
    if ran.code != 0:
        lines = {name: wanted.line for name, wanted in by_name.items() if wanted.line}
        return explain(STEP, ran.complaint, lines, base.python)
    packages: list[Pinned] = []
    for package in read_pins(ran.answer):
        if base.packages.get(package.name) == package.version:
            continue
        chosen = [wheel for wheel in built if wheel.name == package.name]
        checked = package if chosen else _only_allowed(package, by_name.get(package.name))
        if isinstance(checked, Failure):
            return checked
        packages.append(checked)
    names = {package.name for package in packages}
    used = tuple(wheel for wheel in built if wheel.name in names)
    lock = Lock(tuple(packages), time.time(), used)
    await remember(directory, KIND, key, msgspec.json.encode(lock))
    return lock


async def show_built(tools: BuildTools, built: Sequence[Built]) -> tuple[list[Mount], list[str]]:
    """Return what shows uv the wheels that were built, and the arguments that name them.

    Each has a place of its own: uv remembers wheels by their paths. Raises NotFound.
    """
    mounts: list[Mount] = []
    for wheel in built:
        path = await tools.layers.dependencies(wheel.layer)
        mounts.append(Mount(str(path), f"{BUILT}/{wheel.layer.removeprefix('sha256:')}"))
    return mounts, [word for mount in mounts for word in ("--find-links", mount.target)]


async def _are_there(tools: BuildTools, built: Sequence[Built]) -> bool:
    try:
        await show_built(tools, built)
    except NotFound:
        return False
    return True


def _arguments(tools: BuildTools) -> list[str]:
    return [
        *(PROGRAM, "pip", "compile", "-", "--python", tools.python.python, "--generate-hashes"),
        *("--only-binary", ":all:", "--no-header", "--no-annotate", "--color", "never"),
        *(f"--no-emit-package={name}" for name in sorted(PROVIDED)),
        *tools.index.arguments,
    ]


def _only_allowed(package: Pinned, wanted: Wanted | None) -> Pinned | Failure:
    """Keep the hashes that the requirement's line allows, if it names any."""
    if wanted is None or not wanted.hashes:
        return package
    allowed = tuple(digest for digest in package.hashes if digest in wanted.hashes)
    if allowed:
        return Pinned(package.name, package.version, allowed)
    return Failure(
        step=STEP,
        detail=f"requirements, line {wanted.line}: none of the wheels of {package.name} "
        f"{package.version} on the package index has one of the hashes that are given.",
        hint="Give the SHA-256 of a wheel, not only of the source distribution, or no hash.",
    )


def _key(tools: BuildTools, base: Base, requirements: Requirements) -> str:
    known = [
        sorted((wanted.text, sorted(wanted.hashes)) for wanted in requirements.wanted),
        [base.name, sorted(base.packages.items())],
        [tools.python.python, tools.python.tag, tools.python.platform, tools.index.key],
    ]
    return hashlib.sha256(msgspec.json.encode(known)).hexdigest()


def _fresh(lock: Lock | None) -> Lock | None:
    return lock if lock and 0 <= time.time() - lock.at < REMEMBER_SECONDS else None


def _counted(lock: Lock) -> str:
    return f"{len(lock.packages)} package{'' if len(lock.packages) == 1 else 's'}"
