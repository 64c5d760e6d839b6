"""An open bubblewrap sandbox: from its start, through the one program it runs, to its end."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from pathlib import Path

import structlog

from workers.sandboxes import results
from workers.sandboxes.arguments import READY, SHARED_MEMORY, TEMPORARY, program_line
from workers.sandboxes.driver import (
    CHANNEL_VARIABLE,
    Exit,
    Output,
    Results,
    SandboxUnsupported,
    Scope,
    Spec,
)
from workers.sandboxes.groups import Group, holds, remove
from workers.sandboxes.launches import Launch
from workers.sandboxes.pipes import Feed, Outputs, Stream, read_until
from workers.sandboxes.processes import (
    Life,
    continue_all,
    members,
    open_inside,
    stop_all,
    user_ids,
)

START_SECONDS = 30.0
MAX_COMPLAINT = 4096  # bytes of bubblewrap's own words
# Without cgroups nobody counts the memory that empty files take, about 1 KiB each.
MAX_INODES = 65_536
INODES_SECONDS = 0.1
SIGNALS = range(129, 193)  # what bubblewrap, like a shell, says of a program that a signal ended

log = structlog.get_logger(__name__)


class BubblewrapSandbox:
    """See `driver.Sandbox`. Made by the driver, which starts and ends it."""

    def __init__(
        self, name: str, uid: int, spec: Spec, launch: Launch, group: Group | None
    ) -> None:
        self.id = name
        self.uid = uid
        self.scope: Scope = "sandbox" if group else "process"
        self._spec = spec
        self._launch = launch
        self.group = group  # None where there are no control groups
        self._life = Life(launch.process)
        self._input = Feed(launch.stdin)
        streams: dict[int, Stream] = {launch.stdout: "stdout", launch.stderr: "stderr"}
        if launch.channel is not None:
            streams[launch.channel] = "channel"
        self._outputs = Outputs(streams)
        self.inside = 0  # the host's pid of its pid 1
        self._handles: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._paused = False
        self._used = False
        self._begun = asyncio.Event()  # what the shell has to read first was sent

    async def start(self) -> None:
        """Return when all of it stands and is limited. Raises SandboxUnsupported if it does not."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._ready()
                await self._look_inside()
                self._open_handles()
        except TimeoutError as error:
            words = f"The sandbox did not start within {START_SECONDS:.0f} s."
            raise SandboxUnsupported(words) from error
        except OSError as error:
            raise SandboxUnsupported(f"The sandbox could not be started: {error}.") from error

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
        line = program_line(
            argv,
            {
                **self._defaults(),
                **self._spec.environment,
                **(environment or {}),
                **self._channel(),
            },
            self._spec.limits if self.group is None else None,
        )
        self._used = True
        self._spawn(self._feed(line + stdin, close=not keep_stdin))
        reading = self._outputs.read()
        async with contextlib.aclosing(reading):
            async for output in reading:
                yield output
        await self._life.gone.wait()
        yield self._exit()

    async def write(self, data: bytes) -> None:
        """See `driver.Sandbox.write`."""
        await self._begun.wait()
        await self._input.send(data)

    async def close_stdin(self) -> None:
        """See `driver.Sandbox.close_stdin`."""
        self._input.close()

    async def pause(self) -> None:
        """See `driver.Sandbox.pause`. Raises TimeoutError if it cannot be done within 5 s."""
        self._paused = True
        if self._life.gone.is_set():
            return
        if self.group is not None:
            await self.group.freeze()
        elif not await asyncio.to_thread(stop_all, self.inside):
            raise TimeoutError("the sandbox starts processes faster than they can be stopped")

    async def resume(self) -> None:
        """See `driver.Sandbox.resume`."""
        if not self._paused or self._life.gone.is_set():
            return
        self._paused = False
        if self.group is not None:
            self.group.thaw()
        else:
            await asyncio.to_thread(continue_all, self.inside)

    async def kill(self) -> None:
        """See `driver.Sandbox.kill`."""
        if not self.inside:
            # bubblewrap must not die between making pid 1 and telling it to go on: that would
            # wait for ever, and nobody would know it.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._learn_inside(), START_SECONDS)
        self._life.kill()
        if self.group is not None:
            self.group.kill()
        await self._life.gone.wait()

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
        self._input.close()
        self._outputs.close()
        self._life.close()
        for descriptor in (*self._handles, self._launch.information):
            os.close(descriptor)
        self._handles.clear()
        if self.group is not None:
            try:
                await remove(self.group)
            except TimeoutError:  # the sweep will find it
                log.warning("sandbox.group_left", sandbox=self.id)

    async def _ready(self) -> None:
        while (first := self._outputs.take_first("stdout", len(READY))) is None:
            await self._outputs.wait()
        if first != READY:
            raise await self._complaint()
        self._spawn(self._note_the_end())

    async def _look_inside(self) -> None:
        """Make sure of who runs in there and under which limits, before anything untrusted does."""
        await self._learn_inside()
        uids = user_ids(self.inside)
        if uids != {self.uid} or 0 in uids:
            raise SandboxUnsupported(f"The sandbox runs with the uids {uids}, not {self.uid}.")
        if self.group is not None and not holds(self.group, self.inside):
            outside = self._launch.process.pid
            pids = [outside, self.inside, *members(self.inside)]
            await asyncio.to_thread(self.group.admit, pids)

    async def _learn_inside(self) -> None:
        """From bubblewrap, which says it before it lets pid 1 go on."""
        information = await read_until(self._launch.information, b"}")
        if information is not None:
            self.inside = int(json.loads(information)["child-pid"])
            with contextlib.suppress(ProcessLookupError):
                self._life.watch_inside(self.inside)

    async def _complaint(self) -> SandboxUnsupported:
        await self.kill()
        self._outputs.end()
        said = b"".join([o.data async for o in self._outputs.read() if o.stream == "stderr"])
        words = said[:MAX_COMPLAINT].decode("utf-8", "replace").strip()
        return SandboxUnsupported(f"The sandbox could not be set up: {words or 'no reason given'}.")

    def _open_handles(self) -> None:
        """Handles keep the working directory readable after the sandbox's last process is gone.

        Only the waiting shell runs yet, so no path can have been tampered with.
        """
        paths = [self._spec.working_directory]
        if self.group is None:
            paths += [TEMPORARY, SHARED_MEMORY]
        self._handles += open_inside(self.inside, paths)
        if self.group is None:
            self._spawn(self._watch_inodes())

    async def _watch_inodes(self) -> None:
        while True:
            states = [os.fstatvfs(handle) for handle in self._handles]
            if any(state.f_files - state.f_ffree > MAX_INODES for state in states):
                log.info("sandbox.too_many_files", sandbox=self.id, most=MAX_INODES)
                self._life.kill()
                return
            await asyncio.sleep(INODES_SECONDS)

    async def _note_the_end(self) -> None:
        await self._life.gone.wait()
        self._outputs.end()

    async def _feed(self, data: bytes, *, close: bool) -> None:
        await self._input.send(data)
        self._begun.set()
        if close:
            self._input.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _defaults(self) -> dict[str, str]:
        return {
            "HOME": TEMPORARY,
            "PWD": self._spec.working_directory,
            "LANG": "C.UTF-8",
        }

    def _channel(self) -> dict[str, str]:
        """What no other variable may replace: else nobody could tell how the program does."""
        number = self._launch.channel_number
        return {} if number is None else {CHANNEL_VARIABLE: str(number)}

    def _exit(self) -> Exit:
        status = self._life.status
        signal = -status if status < 0 else status - 128 if status in SIGNALS else None
        usage = self.group.usage() if self.group is not None else None
        return Exit(
            code=status if signal is None else None,
            signal=signal,
            out_of_memory=usage is not None and usage.memory_kills > 0,
            peak_memory_mb=usage and usage.peak_memory_mb,
            cpu_seconds=usage and usage.cpu_seconds,
        )
