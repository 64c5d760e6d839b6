"""Building one wheel from a source distribution, in a sandbox without network.

The package's code runs there, and sees: the base, what it says it needs to be built (a layer of
wheels), its own source, and one directory on the disk that it may fill. Not uv's cache, no index,
no secret. What it leaves is not trusted: one file of the right name becomes a layer, and is
installed as any wheel is.
"""

import asyncio
import os
import shutil
from pathlib import Path

import msgspec
from msgspec import Struct
from packaging.requirements import InvalidRequirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from adapters.scratch import disk_work, scratch_directory
from domain.errors import NotFound
from domain.execution import digest_of
from domain.requirements import normalised
from workers.archives import EPOCH, LayerRefused
from workers.builder.building_failures import build_failed, unmet
from workers.builder.failures import Failure
from workers.builder.memory import alone, recall_as, remember
from workers.builder.overlay import make_overlay
from workers.builder.plan import Built, Lock, resolve
from workers.builder.programs import OUT, Say, run_program, script
from workers.builder.requirements import MAX_LENGTH, MAX_LINES, Requirements, Wanted, parse
from workers.builder.sdists import Sdist, fetch_sdist
from workers.builder.tools import BuildTools
from workers.sandboxes.driver import Mount, Spec

STEP = "source"
KIND = "wheels"
FORMAT = "1"  # how wheels are built; raise it when that changes, and all are built anew
MOST_ASKED = 3  # times that a build may say that it needs more than is there

PROGRAM = "/opt/backend.py"
REQUIRED = "/opt/build"
PLACE = "/sdist"


class Answer(Struct, frozen=True):
    """What the program inside says: what has to be there, or nothing if the wheel is made."""

    requires: list[str]


async def make_wheel(tools: BuildTools, sdist: Sdist, say: Say) -> Built | Failure:
    """Return the wheel of an sdist, built unless it was before for this Python and platform.

    Raises Unavailable: the disk is full, or there is no sandbox to be had.
    """
    directory, key = tools.layers.directory, _key(tools, sdist)
    found = await _find(tools, key, sdist)
    if found:
        await say(f"{sdist.name} {sdist.version} was built from the same source before")
        return found
    async with alone(directory, KIND, key) as waited:
        if waited and (found := await _find(tools, key, sdist)):
            return found
        with scratch_directory(directory / "scratch") as scratch:
            scratch.chmod(0o711)  # the sandbox's uid passes
            fetched = scratch / "fetched"
            fetched.mkdir(mode=0o700)
            failed = await fetch_sdist(tools, sdist, fetched, say)
            if failed:
                return failed
            made = await _build(tools, sdist, scratch, say)
            if isinstance(made, Failure):
                return made
            try:
                layer, _ = await tools.layers.keep(made, max_mb=tools.limits.disk_mb)
            except LayerRefused as error:
                return Failure(step=STEP, detail=f"{sdist.place}{error.detail}")
        built = Built(sdist.name, sdist.version, layer, sdist.sha256)
        await remember(directory, KIND, key, msgspec.json.encode(built))
    return built


async def _find(tools: BuildTools, key: str, sdist: Sdist) -> Built | None:
    built = await recall_as(tools.layers.directory, KIND, key, Built)
    if built is None or built.sdist != sdist.sha256:
        return None
    try:
        await tools.layers.dependencies(built.layer)
    except NotFound:
        return None
    return built


def _key(tools: BuildTools, sdist: Sdist) -> str:
    parts = (FORMAT, sdist.name, sdist.sha256, tools.python.tag, tools.python.platform)
    return digest_of("\n".join(parts).encode()).removeprefix("sha256:")


async def _build(tools: BuildTools, sdist: Sdist, scratch: Path, say: Say) -> Path | Failure:
    """Return a directory with the wheel, and nothing else, in it."""
    known: list[str] = []
    for number in range(MOST_ASKED + 1):
        required = await _install(tools, sdist, known, say)
        if isinstance(required, Failure):
            return required
        out = scratch / f"out{number}"
        out.mkdir(mode=0o700)
        spec = _spec(tools, scratch / "fetched", out, required)
        stdin = msgspec.json.encode({"known": known}).decode()
        argv = [tools.python.python, "-s", "-P", PROGRAM]
        ran = await run_program(tools, STEP, spec, argv, say, stdin=stdin, out=out)
        if isinstance(ran, Failure):
            detail = f"{sdist.place}{sdist.name} {sdist.version}: {ran.detail}"
            return msgspec.structs.replace(ran, detail=detail)
        if ran.code != 0:
            return build_failed(sdist, ran.complaint)
        try:
            asked = msgspec.json.decode(ran.answer, type=Answer).requires
        except msgspec.DecodeError:
            return build_failed(sdist, ran.complaint)
        if not asked:
            return await asyncio.to_thread(_take, sdist, out / "wheels", scratch)
        known = sorted({*known, *asked})
    return unmet(sdist, "It asks for something else each time.")


async def _install(
    tools: BuildTools, sdist: Sdist, requires: list[str], say: Say
) -> Path | Failure | None:
    """Return the layer of what the build requires, from wheels alone; None for nothing."""
    if len(requires) > MAX_LINES or any(len(text) > MAX_LENGTH for text in requires):
        most = f"{MAX_LINES} requirements of {MAX_LENGTH} characters"
        return unmet(sdist, f"It asks for more than {most}.")
    try:
        parsed = [parse(text) for text in requires]
    except InvalidRequirement as error:
        return unmet(sdist, str(error).splitlines()[0])
    if any(requirement.url for requirement in parsed):
        return unmet(sdist, "It requires something by its URL.")
    if not parsed:
        return None
    await say(f"To be built, {sdist.name} requires {', '.join(requires)}")
    wanted = tuple(Wanted(0, normalised(one.name), str(one)) for one in parsed)
    lock = await resolve(tools, tools.base, Requirements(wanted, ()), say)
    if isinstance(lock, Failure):
        return unmet(sdist, lock.detail)
    return await _layer(tools, sdist, lock, say) if lock.packages else None


async def _layer(tools: BuildTools, sdist: Sdist, lock: Lock, say: Say) -> Path | Failure:
    made = await make_overlay(tools, lock, say)
    if isinstance(made, Failure):
        return unmet(sdist, made.detail)
    return await tools.layers.dependencies(made.digest)


def _spec(tools: BuildTools, fetched: Path, out: Path, required: Path | None) -> Spec:
    base = tools.python
    folders = (f"{REQUIRED}/bin", str(Path(base.python).parent), "/usr/bin", "/bin")
    return Spec(
        layers=(
            *base.layers,
            Mount(str(fetched), PLACE),
            *([Mount(str(required), REQUIRED)] if required else []),
        ),
        symlinks=base.symlinks,
        hidden=base.hidden,
        files={**base.files, PROGRAM: script("backend")},
        environment={
            "PATH": ":".join(dict.fromkeys(folders)),
            "PYTHONPATH": REQUIRED,
            "HOME": f"{OUT}/home",
            "TMPDIR": f"{OUT}/temporary",  # on the disk: what is in memory counts as memory
            # What can be the same in two builds should be.
            "SOURCE_DATE_EPOCH": str(EPOCH),
            "PYTHONHASHSEED": "0",
        },
        limits=tools.limits,
        scope=tools.scope,
        writable=(Mount(str(out), OUT),),
        hostname="build",
    )


def _take(sdist: Sdist, left: Path, scratch: Path) -> Path | Failure:
    """Move the wheel out of what an untrusted build left. No link in it is followed."""
    wheels: list[str] = []
    if left.is_dir() and not left.is_symlink():
        with os.scandir(left) as entries:
            wheels = [entry.name for entry in entries if _is_wheel(entry)]
    if len(wheels) != 1:
        return build_failed(sdist, (f"It left {len(wheels)} wheels instead of one.",))
    try:
        name, version, _, _ = parse_wheel_filename(wheels[0])
        right = wheels[0].isascii() and (str(name), version) == (sdist.name, Version(sdist.version))
    except (InvalidWheelFilename, InvalidVersion):
        right = False
    if not right:
        return build_failed(sdist, (f"It left {ascii(wheels[0])[:200]}, which is something else.",))
    tree = scratch / "wheel"
    with disk_work("Keeping a wheel"):
        tree.mkdir(mode=0o700)
        shutil.move(left / wheels[0], tree / wheels[0])
    return tree


def _is_wheel(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".whl") and entry.is_file(follow_symlinks=False)
