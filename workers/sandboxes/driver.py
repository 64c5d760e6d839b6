"""What a sandbox driver promises: the values it takes and gives, and the two protocols.

A driver fails closed: what it cannot enforce it refuses with SandboxUnsupported, never with a
warning. The promises are tested by `tests/contracts/test_sandboxes*.py`.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

from domain.errors import Unavailable
from domain.limits import Limits

GATEWAY_DIRECTORY = "/run/argosy"
CHANNEL_VARIABLE = "ARGOSY_CHANNEL_FD"

type Scope = Literal["sandbox", "process"]


class SandboxUnsupported(Unavailable):
    """This machine cannot enforce what was asked; nothing was started. Ask for less, or move."""

    type = "sandbox-unsupported"
    title = "The sandbox cannot be enforced here"


class Mount(Struct, frozen=True):
    """A directory or file of the host, shown in the sandbox.

    source: absolute path on the host, links in it resolved by the host.
    target: absolute path inside, without `..`; made if it is not there.
    """

    source: str
    target: str


class Symlink(Struct, frozen=True):
    """A link made inside: `path` points to `target`."""

    target: str
    path: str


class Spec(Struct, frozen=True, kw_only=True):
    """One sandbox: what is in it, what it may use, and whom it can reach.

    layers: bound read-only, in this order; a later one may cover a part of an earlier one.
    symlinks: made before the layers are bound (`/bin` to `usr/bin` and the like).
    hidden: directories of the layers that are covered by an empty one.
    files: small text files made read-only, by absolute path (`/etc/passwd`…).
    working_directory: an empty tmpfs of `limits.disk_mb`; the program's current directory.
    tmp_mb: size of `/tmp` and of `/dev/shm`, each. Filled, it counts as memory.
    environment: all the program sees beside PATH, HOME, PWD and LANG, which it may override. Names
        are identifiers, as a shell demands; one value holds less than 128 KiB.
    limits: `seconds` and `output_kb` are the caller's business; the rest is enforced here.
    scope: what the limits must hold for. "process" also accepts a machine without cgroups, where
        memory is limited for each process by itself and cpu is not; "sandbox" is refused there.
    gateway: host directory with the gateway's unix socket, bound at /run/argosy. Under root it is
        given to the sandbox's uid with mode 0700; sockets in it need mode 0666.
    writable: host directories the program may write, without a size limit: builds only. Under
        root they are given (themselves, not what is in them) to the one uid all builds share.
    channel: gives the program one more pipe to write to, its number in ARGOSY_CHANNEL_FD; what
        it writes there arrives as Output of stream "channel".
    shell: a POSIX shell inside and its first arguments; it reads what to start, and becomes that.
    """

    layers: tuple[Mount, ...]
    symlinks: tuple[Symlink, ...] = ()
    hidden: tuple[str, ...] = ()
    files: Mapping[str, str] = {}
    working_directory: str = "/work"
    tmp_mb: int = 64
    environment: Mapping[str, str] = {}
    limits: Limits = Limits()
    scope: Scope = "sandbox"
    gateway: str | None = None
    writable: tuple[Mount, ...] = ()
    hostname: str = "sandbox"
    channel: bool = False
    shell: tuple[str, ...] = ("/bin/sh",)


class Output(Struct, frozen=True):
    """A piece of what the program wrote, at most 64 KiB, cut anywhere (not at lines)."""

    stream: Literal["stdout", "stderr", "channel"]
    data: bytes


class Exit(Struct, frozen=True, kw_only=True):
    """How the program ended; by then nothing of it is alive.

    code: its exit status, or None if a signal ended it.
    signal: the signal's number. A program that exits by itself with 129 to 192 cannot be told
        from one that a signal ended, as in a shell.
    out_of_memory: the kernel killed something in the sandbox for memory. Only known with scope
        "sandbox".
    peak_memory_mb, cpu_seconds: of the whole sandbox; None where the machine does not count.
    """

    code: int | None
    signal: int | None = None
    out_of_memory: bool = False
    peak_memory_mb: float | None = None
    cpu_seconds: float | None = None


class ResultFile(Struct, frozen=True):
    """A regular file the program left: `path` relative to the working directory, size in bytes."""

    path: str
    size: int
    executable: bool = False


class LeftOut(Struct, frozen=True):
    """Something in the working directory that was not collected, and why, in words."""

    path: str
    why: str


class Results(Struct, frozen=True):
    """What was collected. `left_out` names at most 100 entries; `complete` says it was none."""

    files: tuple[ResultFile, ...]
    left_out: tuple[LeftOut, ...] = ()
    complete: bool = True


class Sandbox(Protocol):
    """An open sandbox. It runs one program; open another sandbox for the next one.

    id: names the sandbox on its machine. uid: the host uid everything in it runs as.
    scope: what the limits hold for here.
    """

    id: str
    uid: int
    scope: Scope

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        keep_stdin: bool = False,
    ) -> AsyncGenerator[Output | Exit]:
        """Start the program; yield output as it comes and, last, exactly one Exit.

        Never raises for a bad exit. At most 256 KiB wait to be read: the program pauses in its
        write meanwhile. Leaving the iteration early leaves the program running, until the sandbox
        is closed. `environment` adds to the spec's. With `keep_stdin` the program's standard input
        stays open for `write`, else it ends after `stdin`. May be called once.
        Raises Invalid for an argument, name or value that cannot be passed (a NUL in it).
        """
        ...

    async def write(self, data: bytes) -> None:
        """Send more standard input, in order; returns when the pipe took it or nobody reads.

        Before the iteration of `run` has begun it waits for that: what it starts with comes first.
        """
        ...

    async def close_stdin(self) -> None:
        """End the standard input. Harmless when repeated."""
        ...

    async def pause(self) -> None:
        """Freeze every process; returns when they use no CPU any more. Harmless when repeated."""
        ...

    async def resume(self) -> None:
        """Undo pause."""
        ...

    async def kill(self) -> None:
        """End every process, paused ones too; returns when they are gone. `run` then ends."""
        ...

    async def collect(
        self, into: Path, *, max_files: int = 1000, max_bytes: int = 100 << 20
    ) -> Results:
        """Copy the regular files of the working directory into the empty host directory `into`.

        Safe at any time, meant for after Exit. Links, devices, pipes, names that are not printable
        UTF-8, unreadable files and whatever exceeds the limits are left out and named. Nothing is
        ever read through a link or outside the working directory.
        """
        ...


class Driver(Protocol):
    """Opens sandboxes. `scope` is the best this machine can hold limits for."""

    name: str
    scope: Scope

    def open(self, spec: Spec) -> AbstractAsyncContextManager[Sandbox]:
        """A fresh sandbox, destroyed on leaving however the block ends, with all that is in it.

        Raises SandboxUnsupported if any part of `spec` cannot be enforced here.
        """
        ...

    async def sweep(self) -> list[str]:
        """Destroy every sandbox of this driver and machine whose owner is dead; name them, sorted.

        Safe beside any number of living owners and other sweeps. Raises SandboxUnsupported.
        """
        ...
