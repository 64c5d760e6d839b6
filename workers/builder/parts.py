"""Installing packages each by itself, once: dependency layers are put together from them.

What is in a part comes from one wheel alone, which its hash names. So parts can be shared by all
agents of a machine, whatever else is installed beside them.
"""

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from adapters.pins import Pinned
from adapters.scratch import scratch_directory
from domain.errors import NotFound
from workers.archives import Contents, LayerRefused, Overlapping
from workers.builder.failures import Failure, explain
from workers.builder.plan import Lock, show_built
from workers.builder.programs import Say, script
from workers.builder.tools import BuildTools
from workers.builder.uv import PROGRAM, run_beside_uv
from workers.sandboxes.driver import Mount

STEP = "install"
FORMAT = "1"  # what a part looks like; raise it when installing changes, and all are made anew
LESS = "Require fewer or smaller packages, or others."
NOTE = "uv_cache.json"
SCRIPT = "/etc/argosy-install.py"


async def from_parts(
    tools: BuildTools, lock: Lock, say: Say
) -> tuple[str, Contents] | Failure | None:
    """Install what was not before, and return the digest of all together.

    None where packages have files of the same name: they only make a layer when they are installed
    together. Raises Unavailable.
    """
    packages = {part_key(tools, package): package for package in lock.packages}
    missing = {key: package for key, package in packages.items() if not tools.layers.has_part(key)}
    if len(missing) < len(packages):
        there = len(packages) - len(missing)
        await say(f"{there} of {len(packages)} packages were installed before")
    if missing:
        failure = await _install(tools, lock, missing, say)
        if failure is not None:
            return failure
    try:
        return await tools.layers.put_together(list(packages), max_mb=tools.limits.disk_mb)
    except (Overlapping, NotFound):
        return None
    except LayerRefused as error:
        return Failure(step=STEP, detail=error.detail, hint=LESS)


def part_key(tools: BuildTools, package: Pinned) -> str:
    """Return what names an installed package: its wheel, Python tag and platform."""
    parts = (FORMAT, package.text, tools.python.tag, tools.python.platform)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def uv_install(tools: BuildTools) -> list[str]:
    """Return uv's command that installs wheels by hash, without the requirements and the target."""
    return [
        *(PROGRAM, "pip", "install", "--python", tools.python.python),
        *("--no-deps", "--require-hashes", "--only-binary", ":all:"),
        # A layer owns its files: with hard links, who writes to the cache writes to every layer.
        *("--link-mode", "copy", "--color", "never"),
        *tools.index.arguments,
    ]


def forget_notes(tree: Path) -> None:
    """Remove uv's own notes. The tree is not trusted yet: no link in it is followed."""
    (tree / ".lock").unlink(missing_ok=True)
    with os.scandir(tree) as entries:
        for entry in entries:
            if entry.name.endswith(".dist-info") and entry.is_dir(follow_symlinks=False):
                Path(entry.path, NOTE).unlink(missing_ok=True)
                _unrecord(Path(entry.path, "RECORD"))


@asynccontextmanager
async def filled(
    tools: BuildTools,
    argv: Sequence[str],
    say: Say,
    *,
    stdin: str,
    mounts: Sequence[Mount],
    files: Mapping[str, str] | None = None,
) -> AsyncGenerator[Path | Failure]:
    """Have a program fill a directory with uv's help; it is gone with the block, unless moved."""
    with scratch_directory(tools.layers.directory / "scratch") as scratch:
        tree = scratch / "tree"
        tree.mkdir(mode=0o700)
        scratch.chmod(0o711)  # the sandbox's uid passes; the tree will be its own
        ran = await run_beside_uv(
            tools, STEP, argv, say, stdin=stdin, out=tree, files=files, mounts=mounts
        )
        if isinstance(ran, Failure):
            yield ran
        elif ran.code != 0:
            yield explain(STEP, ran.complaint, {}, tools.base.python)
        else:
            yield tree


async def _install(
    tools: BuildTools, lock: Lock, missing: Mapping[str, Pinned], say: Say
) -> Failure | None:
    mounts, links = await show_built(tools, lock.built)
    asked = {
        "uv": [*uv_install(tools), *links],
        "each": {key: package.text for key, package in missing.items()},
    }
    argv = [tools.python.python, "-I", "-S", SCRIPT]
    stdin, files = msgspec.json.encode(asked).decode(), {SCRIPT: script("install")}
    async with filled(tools, argv, say, stdin=stdin, mounts=mounts, files=files) as tree:
        if isinstance(tree, Failure):
            return tree
        try:
            for key in missing:
                await asyncio.to_thread(forget_notes, tree / key)
                await tools.layers.keep_part(key, tree / key, max_mb=tools.limits.disk_mb)
        except LayerRefused as error:
            return Failure(step=STEP, detail=error.detail, hint=LESS)
    return None


def _unrecord(record: Path) -> None:
    """Remove uv's note, which holds a time, from what a package says it installed."""
    try:
        handle = os.open(record, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # there is none, or it is a link, which no layer may hold
        return
    with os.fdopen(handle, "rb+") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return
        lines = file.readlines()
        kept = [line for line in lines if f"/{NOTE},".encode() not in line]
        if len(kept) < len(lines):
            file.seek(0)
            file.writelines(kept)
            file.truncate()
