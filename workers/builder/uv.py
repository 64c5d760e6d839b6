"""Running uv in a build sandbox, with a door to the package index.

uv sees the base environment, its own cache, a directory to write to, and of the host's settings
only those of the package index. It installs wheels alone, so no code of a package runs here. The
cache is shared by all builds: a hole in uv itself could let one build reach another's packages.
"""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

import uv
from msgspec.structs import replace

from adapters.scratch import disk_work, scratch_file
from workers.builder.failures import Failure
from workers.builder.programs import Ran, Say, online_spec, run_online
from workers.builder.tools import BuildTools
from workers.sandboxes.driver import Mount, Spec
from workers.sandboxes.namespaces import is_open

PROGRAM = "/opt/uv"
CACHE = "/cache"


async def run_beside_uv(
    tools: BuildTools,
    step: str,
    argv: Sequence[str],
    say: Say,
    *,
    stdin: str = "",
    out: Path | None = None,
    files: Mapping[str, str] | None = None,
    mounts: Sequence[Mount] = (),
) -> Ran | Failure:
    """Run a program where uv is at PROGRAM: mostly uv itself.

    `say` hears each line of its standard error at once. `out` is writable as /out. files: texts by
    path inside. mounts: what else it may read. Raises SandboxUnsupported where no build sandbox can
    be had, Unavailable for a disk that fails.
    """
    spec = await _spec(tools, out, files or {}, mounts)
    return await run_online(tools, step, spec, argv, say, stdin=stdin, out=out)


async def _spec(
    tools: BuildTools, out: Path | None, files: Mapping[str, str], mounts: Sequence[Mount]
) -> Spec:
    spec = online_spec(tools, out, files)
    with disk_work("Preparing the build"):
        cache = tools.layers.directory / "uv"
        cache.mkdir(exist_ok=True)
        program = await asyncio.to_thread(_reachable_uv, tools.layers.directory)
    cores = str(ceil(tools.limits.cpu))
    return replace(
        spec,
        layers=(*spec.layers, *mounts, Mount(str(program), PROGRAM)),
        environment={
            "UV_CACHE_DIR": CACHE,
            "UV_NO_CONFIG": "1",
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_CONCURRENT_INSTALLS": cores,
            "RAYON_NUM_THREADS": cores,
            "NO_COLOR": "1",
            # Bytecode that names no time: the same for everybody, valid wherever it is unpacked.
            "PYC_INVALIDATION_MODE": "UNCHECKED_HASH",
            **spec.environment,
        },
        writable=(Mount(str(cache), CACHE), *spec.writable),
    )


def _reachable_uv(directory: Path) -> Path:
    """Return uv where every uid can run it: as it was installed, else a copy in the cache."""
    installed = Path(uv.find_uv_bin())
    if is_open(installed):
        return installed
    status = installed.stat()
    copy = directory / "tools" / f"uv-{status.st_size}-{status.st_mtime_ns}"
    if not copy.exists():
        copy.parent.mkdir(exist_ok=True)
        copy.parent.chmod(0o755)
        with scratch_file(directory / "scratch") as file:
            shutil.copyfile(installed, file.name)
            Path(file.name).chmod(0o755)
            Path(file.name).rename(copy)
    return copy
