"""Running one program in a build sandbox: it is heard at once, and what it takes is limited.

No build sandbox has a network. What is to reach the package index has a door to it, and a
forwarder beside it that makes the door a proxy at a port of the sandbox's own loopback.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from adapters.scratch import disk_work, scratch_directory
from workers.builder.door.doors import open_door
from workers.builder.failures import MAX_LINE, Failure, last_output
from workers.builder.indexes import masked
from workers.builder.quotas import Quota
from workers.builder.tools import BuildTools
from workers.gateway.environment import GATEWAY_PORT, GATEWAY_URL
from workers.harnesses.runtimes import runtime_files
from workers.sandboxes.bases import CERTIFICATES
from workers.sandboxes.driver import Exit, Mount, Output, Sandbox, Spec

OUT = "/out"
FORWARDER = "/opt/forwarder.py"
MAX_ANSWER = 16 << 20  # bytes it may write to its standard output

type Say = Callable[[str], Awaitable[None]]


class Ran(Struct, frozen=True):
    """How it ended: its exit code, its standard output, and what it wrote to standard error."""

    code: int
    answer: str
    complaint: tuple[str, ...]


def script(name: str) -> str:
    """Return the text of a program that runs in a build sandbox, from `inside/`."""
    return (Path(__file__).parent / "inside" / f"{name}.py").read_text()


def online_spec(tools: BuildTools, out: Path | None, files: Mapping[str, str]) -> Spec:
    """Return a sandbox for `run_online`, for programs that run no code of packages.

    `out` is writable as /out; files are texts by path inside.
    """
    base, index = tools.python, tools.index
    certificates = [Mount(path, path) for path in CERTIFICATES if Path(path).is_dir()]
    forwarder = runtime_files()["argosy/_forwarder.py"].decode()
    return Spec(
        layers=(*base.layers, *certificates, *index.mounts),
        symlinks=base.symlinks,
        hidden=base.hidden,
        files={**base.files, **index.files, **files, FORWARDER: forwarder},
        environment={**index.environment, "http_proxy": GATEWAY_URL, "https_proxy": GATEWAY_URL},
        limits=tools.limits,
        scope=tools.scope,
        writable=(Mount(str(out), OUT),) if out is not None else (),
        hostname="build",
    )


async def run_online(
    tools: BuildTools,
    step: str,
    spec: Spec,
    argv: Sequence[str],
    say: Say,
    *,
    stdin: str = "",
    out: Path | None = None,
) -> Ran | Failure:
    """Do what `run_program` does with a door to the package index, and to nothing else.

    What the door could not connect to is at the end of the complaint of a program that failed.
    """
    if not tools.index.places:
        return await run_program(tools, step, spec, argv, say, stdin=stdin, out=out)
    first = (tools.python.python, "-I", "-S", FORWARDER, str(GATEWAY_PORT))
    async with AsyncExitStack() as stack:
        with disk_work("Making the door to the package index"):
            place = stack.enter_context(scratch_directory(tools.layers.directory / "scratch"))
            door = await stack.enter_async_context(open_door(tools.index, place))
        spec = replace(spec, gateway=str(place))
        ran = await run_program(tools, step, spec, argv, say, first=first, stdin=stdin, out=out)
    if isinstance(ran, Failure) or ran.code == 0:
        return ran
    if door.refusal:
        return replace(door.refusal, step=step)
    return replace(ran, complaint=(*ran.complaint, *door.unreached))


async def run_program(
    tools: BuildTools,
    step: str,
    spec: Spec,
    argv: Sequence[str],
    say: Say,
    *,
    first: Sequence[str] = (),
    stdin: str = "",
    out: Path | None = None,
) -> Ran | Failure:
    """Run it; `say` hears each line of its standard error at once. `out`: what it may fill.

    first: a command that becomes the program, whose arguments are the program's command line.
    Raises SandboxUnsupported where no build sandbox can be had.
    """
    limits = tools.limits
    async with tools.driver.open(spec) as sandbox, _guarded(tools, sandbox, out) as quota:
        answer, complaint, end = await _listen(
            sandbox, (*first, *argv), stdin.encode(), say, limits.output_kb << 10
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
        name = Path(argv[0]).name
        return Failure(step=step, detail=f"{name} was ended by signal {end.signal}.{words}")
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
