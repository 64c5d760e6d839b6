"""Running uv in a build sandbox: the only place where a build meets the network.

uv sees the base environment, its own cache, a directory to write to, and of the host's settings
only those of the package index. It installs wheels alone, so no code of a package runs here. The
cache is shared by all builds: a hole in uv itself could let one build reach another's packages.
"""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from math import ceil
from pathlib import Path

import uv
from msgspec import Struct

from adapters.scratch import disk_work, scratch_file
from workers.builder.failures import Failure, last_output
from workers.builder.indexes import masked
from workers.builder.quotas import Quota
from workers.builder.tools import BuildTools
from workers.sandboxes.bases import for_network
from workers.sandboxes.driver import Exit, Mount, Output, Sandbox, Spec
from workers.sandboxes.namespaces import is_open

PROGRAM = "/opt/uv"
CACHE = "/cache"
OUT = "/out"
MAX_LINE = 4_000  # characters of one line of its words
MAX_ANSWER = 16 << 20  # bytes it may write to its standard output

type Say = Callable[[str], Awaitable[None]]


class Ran(Struct, frozen=True):
    """How uv ended: its exit code, its standard output, and what it complained about."""

    code: int
    answer: str
    complaint: tuple[str, ...]


async def run_uv(
    tools: BuildTools,
    step: str,
    arguments: Sequence[str],
    say: Say,
    *,
    stdin: str = "",
    out: Path | None = None,
    files: Mapping[str, str] | None = None,
) -> Ran | Failure:
    """Run uv; `say` hears each line of its standard error at once. `out` is writable as /out.

    files: texts by path inside. Raises SandboxUnsupported where no build sandbox can be had,
    Unavailable for a disk that fails.
    """
    limits = tools.limits
    async with (
        tools.driver.open(await _spec(tools, out, files or {})) as sandbox,
        _guarded(tools, sandbox, out) as quota,
    ):
        answer, complaint, end = await _listen(
            sandbox, [PROGRAM, *arguments], stdin.encode(), say, limits.output_kb << 10
        )
    words = last_output(complaint[-1] if complaint else "")
    if quota.reached:
        detail = f"{quota.reached}{words}"
        return Failure(step=step, detail=detail, hint="Require fewer or smaller packages.")
    if end.out_of_memory:
        return Failure(
            step=step,
            detail=f"The build needed more than its {limits.memory_mb} MB of memory.{words}",
            hint="Require fewer or smaller packages.",
        )
    if end.code is None:
        return Failure(step=step, detail=f"uv was ended by signal {end.signal}.{words}")
    return Ran(end.code, answer.decode("utf-8", "replace"), tuple(complaint))


@asynccontextmanager
async def _guarded(tools: BuildTools, sandbox: Sandbox, out: Path | None) -> AsyncGenerator[Quota]:
    """Watch what is written while the block runs."""
    quota = Quota(out, tools.layers.directory, tools.limits.disk_mb)
    watching = asyncio.create_task(quota.watch(sandbox))
    try:
        yield quota
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    if not watching.cancelled():
        watching.result()


async def _listen(
    sandbox: Sandbox, argv: Sequence[str], stdin: bytes, say: Say, most: int
) -> tuple[bytes, list[str], Exit]:
    """Run the program to its end; returns its answer, its complaint (`most` bytes) and its end."""
    answer = bytearray()
    complaint: list[str] = []
    pending = b""
    heard = 0
    end = Exit(code=None)
    async with aclosing(sandbox.run(argv, stdin=stdin)) as outputs:
        async for item in outputs:
            match item:
                case Exit():
                    end = item
                case Output(stream="stderr", data=data):
                    *lines, pending = (pending + data[: max(0, most - heard)]).split(b"\n")
                    heard += len(data)
                    for line in filter(None, lines):
                        complaint.append(_readable(line))
                        await say(complaint[-1])
                case Output(data=data):
                    answer += data[: MAX_ANSWER - len(answer)]
    if pending:
        complaint.append(_readable(pending))
        await say(complaint[-1])
    return bytes(answer), complaint, end


def _readable(line: bytes) -> str:
    return masked(line[: 4 * MAX_LINE].decode("utf-8", "replace").rstrip())[:MAX_LINE]


async def _spec(tools: BuildTools, out: Path | None, files: Mapping[str, str]) -> Spec:
    base, index = for_network(tools.python), tools.index
    with disk_work("Preparing the build"):
        cache = tools.layers.directory / "uv"
        cache.mkdir(exist_ok=True)
        program = await asyncio.to_thread(_reachable_uv, tools.layers.directory)
    cores = str(ceil(tools.limits.cpu))
    return Spec(
        layers=(*base.layers, *index.mounts, Mount(str(program), PROGRAM)),
        symlinks=base.symlinks,
        hidden=base.hidden,
        files={**base.files, **index.files, **files},
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
            **index.environment,
        },
        limits=tools.limits,
        scope=tools.scope,
        network="host",
        writable=(
            Mount(str(cache), CACHE),
            *([Mount(str(out), OUT)] if out is not None else []),
        ),
        hostname="build",
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
