"""The host's ends of a container's pipes: named ones in a directory that it shows, but for one."""

import asyncio
import contextlib
import os
from pathlib import Path

from workers.sandboxes.pipes import Feed, Outputs, Stream
from workers.sandboxes.processes import members

MAX_STATUS = 16  # bytes
GO = b"\n"


class Pipes:
    """Owns the descriptors. Raises OSError."""

    def __init__(self, folder: Path, uid: int, *, channel: bool) -> None:
        self._folder = folder
        names: list[Stream] = ["stdout", "stderr"]
        if channel:
            names.append("channel")
        for name in (*names, "status", "hold"):
            os.mkfifo(folder / name, 0o600)
            os.chown(folder / name, uid, uid)
        # A reader sees the end where there is no writer: these are both, until the shell inside has
        # opened all of them.
        self._between = [self._open(name, os.O_RDWR) for name in (*names, "status")]
        self._hold = self._open("hold", os.O_RDWR)
        self._status = self._open("status", os.O_RDONLY)
        self.outputs = Outputs({self._open(name, os.O_RDONLY): name for name in names})
        self._input: Feed | None = None

    @property
    def input(self) -> Feed:
        """To the program's standard input. Only after `stand`."""
        assert self._input is not None
        return self._input

    def open_input(self, inside: int) -> int:
        """Open the pipe that the waiting shell below pid 1 reads. Blocks for some ms."""
        for pid in members(inside):
            path = Path(f"/proc/{pid}/fd/0")
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it only began others
                if str(path.readlink()).startswith("pipe:"):  # and not a named one
                    return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        raise FileNotFoundError("no shell waits in the container")

    def stand(self, input_: int) -> None:
        """Take the program's input, and leave the inner ends to the shell, which has them all."""
        self._input = Feed(input_)
        os.write(self._hold, GO)
        self._leave()

    async def status(self) -> bytes:
        """What pid 1, or whoever takes its place, says of the end; nothing if it ended itself."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._status, readable.set)
        try:
            await readable.wait()
            return os.read(self._status, MAX_STATUS)
        finally:
            loop.remove_reader(self._status)

    def close(self) -> None:
        self._leave()
        if self._input is not None:
            self._input.close()
        self.outputs.close()
        for descriptor in (self._hold, self._status):
            os.close(descriptor)

    def _leave(self) -> None:
        while self._between:
            os.close(self._between.pop())

    def _open(self, name: str, flags: int) -> int:
        return os.open(self._folder / name, flags | os.O_NONBLOCK | os.O_CLOEXEC)
