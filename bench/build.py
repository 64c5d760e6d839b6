"""How long from a source's files to a built version, against making a virtual environment with uv.

Both use the same index and warm caches of their own, and alternate. Ours stores the files durably
and returns when the version could run; HTTP, the log and the queue are measured elsewhere. What is
compared is a person's loop: change the source, deploy again; or require what is in the cache, but
not together yet. uv compiles to bytecode, as ours does: nothing could do it later.
"""

import asyncio
import itertools
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import uv

from adapters import bases
from adapters.blobs import FolderBlobs
from adapters.scratch import remove_tree
from domain.builds import BuildEnded, BuildPlanned, BuildRequested
from domain.entries import BuildLogged
from domain.execution import SourceDefinition
from workers.builder.builder import run_build
from workers.builder.indexes import find_index
from workers.builder.tools import BuildTools
from workers.layers import LayerCache
from workers.sandboxes.bases import find_base
from workers.sandboxes.drivers import choose

ROUNDS = 15
REQUIREMENTS = ("httpx", "pydantic")
AIM_CHANGED = 0.02
AIM_UNCHANGED = 0.02
AIM_OVERLAY = 0.1
AIM_ANEW = 2.0  # no promise: what each package costs once, with wheels in uv's cache
REQUEST = BuildRequested(
    build_id="build-1",
    workspace_id="workspace-1",
    agent_id="agent-1",
    agent_name="bench",
    version=1,
    deployment_id="deployment-1",
    revision=1,
    mode="FAST_OVERLAY",
)


def main() -> int:
    """Print one line for each case: name, ratio, aim, ok or short. Always 0: it only measures."""
    directory = Path(tempfile.mkdtemp(prefix="bench-build-"))
    directory.chmod(0o755)
    try:
        asyncio.run(_measure(directory))
    finally:
        remove_tree(directory)
    return 0


async def _measure(directory: Path) -> None:
    tools = _tools(directory)
    changes = (f"print({number})\n".encode() for number in itertools.count())
    await _deploy(tools, next(changes))
    _environment(directory)
    theirs: list[float] = []
    changed: list[float] = []
    unchanged: list[float] = []
    overlay: list[float] = []
    anew: list[float] = []
    for _ in range(ROUNDS):
        theirs.append(_environment(directory))
        source = next(changes)
        changed.append(await _deploy(tools, source))
        unchanged.append(await _known(tools, source))
        _forget_layers(tools, parts=False)
        overlay.append(await _deploy(tools, source))
        _forget_layers(tools, parts=True)
        anew.append(await _deploy(tools, source))
    _tell("build-changed-source", changed, theirs, AIM_CHANGED)
    _tell("build-unchanged-source", unchanged, theirs, AIM_UNCHANGED)
    _tell("build-overlay", overlay, theirs, AIM_OVERLAY)
    _tell("build-packages-anew", anew, theirs, AIM_ANEW)


def _tools(directory: Path) -> BuildTools:
    blobs = FolderBlobs(directory / "blobs")
    driver = choose()
    return BuildTools(
        base=bases.find_base(),
        python=find_base(),
        layers=LayerCache(directory / "cache", blobs),
        blobs=blobs,
        driver=driver,
        index=find_index("", os.environ),
        scope=driver.scope,
    )


async def _deploy(tools: BuildTools, source: bytes) -> float:
    """From the files to a version that could run, its source layer included."""

    async def log(_: BuildLogged) -> None: ...

    async def planned(_: BuildPlanned) -> None: ...

    started = time.perf_counter()
    files = {"agent.py": await tools.blobs.put(source)}
    definition = SourceDefinition(
        files=files, entry_point="agent.py", requirements="\n".join(REQUIREMENTS)
    )
    end = await run_build(REQUEST, definition, attempt=1, tools=tools, log=log, planned=planned)
    await tools.layers.source(files)
    took = time.perf_counter() - started
    _check(end)
    return took


async def _known(tools: BuildTools, source: bytes) -> float:
    """What an unchanged deploy costs here: its files are stored already, and nothing is built."""
    started = time.perf_counter()
    digest = await tools.blobs.put(source)
    await tools.layers.source({"agent.py": digest})
    return time.perf_counter() - started


def _check(end: BuildEnded) -> None:
    if end.how != "succeeded":
        raise SystemExit(f"the build failed: {end.detail} {end.hint}")


def _forget_layers(tools: BuildTools, *, parts: bool) -> None:
    """Leave what was resolved, what uv has in its cache, and, unless told, installed packages."""
    shutil.rmtree(tools.layers.directory / "overlays")
    for layer in (tools.layers.directory / "layers").iterdir():
        if parts or not (layer / "part").exists():
            shutil.rmtree(layer)


def _environment(directory: Path) -> float:
    """Make a virtual environment with the same packages, as one would by hand."""
    place = directory / "venv"
    program = uv.find_uv_bin()
    cache = {**os.environ, "UV_CACHE_DIR": str(directory / "uv-cache")}
    python = find_base().python
    started = time.perf_counter()
    subprocess.run([program, "venv", "-q", "--python", python, place], check=True, env=cache)
    options = ["--compile-bytecode", "--link-mode=copy"]
    install = [program, "pip", "install", "-q", "--python", place, *options, *REQUIREMENTS]
    subprocess.run(install, check=True, env=cache)
    took = time.perf_counter() - started
    shutil.rmtree(place)
    return took


def _tell(name: str, ours: list[float], theirs: list[float], aim: float) -> None:
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(
        f"{name} {ratio:.3f} {aim} {'ok' if ratio <= aim else 'short'}"
        f"  # {statistics.median(ours) * 1e3:.1f} ms, uv {statistics.median(theirs) * 1e3:.0f} ms"
    )


if __name__ == "__main__":
    raise SystemExit(main())
