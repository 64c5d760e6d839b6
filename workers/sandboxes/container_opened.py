"""An open sandbox in a container: from its start, through the one program it runs, to its end.

The program talks through named pipes of a directory on the host, not through the engine: its writes
wait for their reader as with any pipe, and no log of them is kept anywhere. Its pid 1 tells how it
ended and then waits, so that what it used can be read before all of it goes.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from pathlib import Path

import structlog

from workers.sandboxes import results
from workers.sandboxes.arguments import PATH, READY, TEMPORARY, program_line
from workers.sandboxes.container_engine import Containers, Engine, Plan
from workers.sandboxes.container_groups import ContainerGroup, find_group, usage_of
from workers.sandboxes.container_layout import PIPES, Folder, lay_out
from workers.sandboxes.container_pipes import Pipes
from workers.sandboxes.driver import (
    CHANNEL_VARIABLE,
    Exit,
    Output,
    Results,
    SandboxUnsupported,
    Scope,
    Spec,
)
from workers.sandboxes.processes import open_inside, user_ids

START_SECONDS = 60.0
MAX_COMPLAINT = 4096
SIGNALS = range(129, 193)  # what a shell says of a program that a signal ended
CHANNEL_NUMBER = 3
MODE = 0o755  # of the working directory

# Engines give pid 1 variables of their own; this shell becomes one that has none.
CLEAR = """\
set -f
for word in $(export -p); do
  name=${word%%=*}
  case $word in *=*) ;; *) continue ;; esac
  case $name in "" | [0-9]* | *[!A-Za-z0-9_]*) ;; *) unset "$name" ;; esac
done
exec "$@"
"""
# "$1" and "$2" are as in `arguments.WAIT`. 8 takes the status; 9 ends when our process does, and so
# does all of this. The pipe to the program is made in here, since a named one cannot be opened any
# more (as /dev/stdin) when its input has ended; we open it from outside.
HOLD = f"""\
exec </dev/null >/dev/null 2>&1 8>{PIPES}/status 9<{PIPES}/hold
( (read -r line; exec >/dev/null; read -r line; kill -9 -1) <&9 8>&- & ) |
  (exec 8>&- 9<&-; printf r; IFS= read -r line || exit 125; eval "$line"; exit 125) \\
  >{PIPES}/stdout 2>{PIPES}/stderr{{channel}}
echo $? >&8
while read -r line <&9; do :; done
"""
log = structlog.stdlib.get_logger(__name__)


class ContainerSandbox:
    """See `driver.Sandbox`. Made by the driver, which starts and ends it."""

    scope: Scope = "sandbox"

    def __init__(
        self, name: str, uid: int, spec: Spec, containers: Containers, place: Path
    ) -> None:
        self.id = name
        self.uid = uid
        self.group: ContainerGroup | None = None
        self.inside = 0  # the host's pid of its pid 1
        self._spec = spec
        self._containers = containers
        self._folder = Folder(place / name)
        self._pipes: Pipes | None = None
        self._process: int | None = None
        self._gone = asyncio.Event()
        self._handles: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._usage = usage_of(None)
        self._status: int | None = None
        self._paused = False
        self._used = False
        self._begun = asyncio.Event()  # what the shell has to read first was sent

    async def start(self, engine: Engine) -> None:
        """Return when all of it stands and is limited. Raises SandboxUnsupported if it does not."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._make(engine)
                await self._containers.start(self.id)
                await self._ready(self._opened)
        except TimeoutError as error:
            words = f"The container did not start within {START_SECONDS:.0f} s."
            raise SandboxUnsupported(words) from error
        except OSError as error:
            raise SandboxUnsupported(f"The container could not be set up: {error}.") from error

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        keep_stdin: bool = False,
    ) -> AsyncGenerator[Output | Exit]:
        """See `driver.Sandbox.run`."""
        if self._used:
            raise RuntimeError("a sandbox runs one program")
        given = {**self._defaults(), **self._spec.environment, **(environment or {})}
        if self._spec.channel:
            given[CHANNEL_VARIABLE] = str(CHANNEL_NUMBER)
        line = program_line(argv, given, None)
        self._used = True
        self._spawn(self._feed(line + stdin, close=not keep_stdin))
        reading = self._opened.outputs.read()
        async with contextlib.aclosing(reading):
            async for output in reading:
                yield output
        await self._gone.wait()
        yield self._exit()

    async def write(self, data: bytes) -> None:
        """See `driver.Sandbox.write`."""
        await self._begun.wait()
        await self._opened.input.send(data)

    async def close_stdin(self) -> None:
        """See `driver.Sandbox.close_stdin`."""
        self._opened.input.close()

    async def pause(self) -> None:
        """See `driver.Sandbox.pause`. Raises TimeoutError if it cannot be done within 5 s."""
        if self.group is not None and not self._gone.is_set():
            self._paused = True
            await self.group.freeze()

    async def resume(self) -> None:
        """See `driver.Sandbox.resume`."""
        if self.group is not None and self._paused and not self._gone.is_set():
            self._paused = False
            self.group.thaw()

    async def kill(self) -> None:
        """See `driver.Sandbox.kill`."""
        if self._process is not None and not self._gone.is_set():
            self._end()
            await self._gone.wait()

    async def collect(
        self, into: Path, *, max_files: int = 1000, max_bytes: int = 100 << 20
    ) -> Results:
        """See `driver.Sandbox.collect`."""
        return await results.collect(
            self._handles[0], into, max_files=max_files, max_bytes=max_bytes
        )

    async def destroy(self) -> None:
        """End everything, and give back everything the machine lent. Never raises."""
        await self.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._pipes is not None:
            self._pipes.close()
        if self._process is not None:
            asyncio.get_running_loop().remove_reader(self._process)
            os.close(self._process)
        for handle in self._handles:
            os.close(handle)
        self._handles.clear()
        try:
            await self._containers.remove(self.id)
        except SandboxUnsupported as error:  # the sweep will find it
            log.warning("sandbox.container_left", sandbox=self.id, error=error.detail)
        await asyncio.to_thread(shutil.rmtree, self._folder.path, ignore_errors=True)

    @property
    def _opened(self) -> Pipes:
        assert self._pipes is not None
        return self._pipes

    async def _make(self, engine: Engine) -> None:
        self._folder.make()
        self._pipes = Pipes(self._folder.pipes, self.uid, channel=self._spec.channel)
        layout = await asyncio.to_thread(
            lay_out, self._spec, self._folder, self.uid, podman=engine.podman
        )
        shell = [*self._spec.shell, "-c"]
        channel = f" {CHANNEL_NUMBER}>{PIPES}/channel" if self._spec.channel else ""
        hold = [*shell, HOLD.format(channel=channel), "sandbox", "\n", self.id]
        command = [*shell, CLEAR, "sandbox", *hold]
        plan = Plan(self.id, self._spec, layout, self.uid, command, self._folder.path)
        await self._containers.create(plan)

    async def _ready(self, pipes: Pipes) -> None:
        state = (await self._containers.look(self.id))["State"]
        self._watch(state["Pid"])
        while (first := pipes.outputs.take_first("stdout", len(READY))) is None:
            if self._gone.is_set():
                raise await self._complaint(pipes)
            await pipes.outputs.wait()
        if first != READY:
            raise await self._complaint(pipes)
        self._look_inside()
        pipes.stand(await asyncio.to_thread(pipes.open_input, self.inside))
        self._spawn(self._follow(pipes))

    def _watch(self, pid: int) -> None:
        """Know of pid 1's end through a descriptor that means no other process, ever."""
        if pid == 0:
            self._has_gone()
            return
        try:
            self._process = os.pidfd_open(pid)
        except ProcessLookupError:
            self._has_gone()
            return
        self.inside = pid
        asyncio.get_running_loop().add_reader(self._process, self._has_gone)

    def _has_gone(self) -> None:
        if self._process is not None:
            asyncio.get_running_loop().remove_reader(self._process)
        self._gone.set()
        self._opened.outputs.end()

    def _look_inside(self) -> None:
        """Make sure of who runs in there and under which limits, before anything untrusted does."""
        words = Path(f"/proc/{self.inside}/cmdline").read_bytes()
        if self.id.encode() not in words:
            raise SandboxUnsupported(
                "The container's processes are not seen here: the engine must be on this machine, "
                "and Argosy in its pid namespace."
            )
        uids = user_ids(self.inside)
        if uids != {self.uid} or 0 in uids:
            raise SandboxUnsupported(f"The container runs with the uids {uids}, not {self.uid}.")
        self.group = find_group(self.inside, self._spec.limits)
        self._handles += open_inside(self.inside, [self._spec.working_directory])
        os.fchown(self._handles[0], self.uid, self.uid)
        os.fchmod(self._handles[0], MODE)

    async def _complaint(self, pipes: Pipes) -> SandboxUnsupported:
        await self.kill()
        pipes.outputs.end()
        said = b"".join([o.data async for o in pipes.outputs.read() if o.stream == "stderr"])
        words = said[:MAX_COMPLAINT].decode("utf-8", "replace").strip()
        return SandboxUnsupported(f"The container ended as it began: {words or 'no reason given'}.")

    async def _follow(self, pipes: Pipes) -> None:
        """See the program end, note what it used, and end what it left behind."""
        said = await pipes.status()
        if (status := re.fullmatch(rb"(\d{1,3})\n", said)) is not None:
            self._status = int(status[1])
        self._end()

    def _end(self) -> None:
        """End pid 1, and with it all that is inside; the engine then removes the control group."""
        if self._process is not None and not self._gone.is_set():
            self._usage = usage_of(self.group)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)

    async def _feed(self, data: bytes, *, close: bool) -> None:
        await self._opened.input.send(data)
        self._begun.set()
        if close:
            self._opened.input.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _defaults(self) -> dict[str, str]:
        return {
            "PATH": PATH,
            "HOME": TEMPORARY,
            "PWD": self._spec.working_directory,
            "LANG": "C.UTF-8",
        }

    def _exit(self) -> Exit:
        status = self._status
        if status is None:  # pid 1 did not live to tell
            code, number = None, int(signal.SIGKILL)
        else:
            number = status - 128 if status in SIGNALS else None
            code = status if number is None else None
        return Exit(
            code=code,
            signal=number,
            out_of_memory=self._usage.memory_kills > 0,
            peak_memory_mb=self._usage.peak_memory_mb,
            cpu_seconds=self._usage.cpu_seconds,
        )
