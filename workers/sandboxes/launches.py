"""Starting bubblewrap, with nothing of our environment and descriptors but what it needs."""

import os
import subprocess
from contextlib import ExitStack, nullcontext
from functools import cache

from msgspec import Struct

from workers.sandboxes.arguments import WAIT, bubblewrap_arguments
from workers.sandboxes.driver import Spec
from workers.sandboxes.kernel import acting_as
from workers.sandboxes.namespaces import Paths
from workers.sandboxes.seccomp import filter_here


class Launch(Struct, frozen=True):
    """A bubblewrap that was started, and the host's ends of its pipes.

    information: bubblewrap has written the pid of pid 1 there, as JSON, when the shell is ready.
    channel_number: of the program's end of the channel, which is the same inside.
    """

    process: subprocess.Popen[bytes]
    stdin: int
    stdout: int
    stderr: int
    channel: int | None
    channel_number: int | None
    information: int


def launch(bwrap: str, uid: int, spec: Spec, paths: Paths, name: str) -> Launch:
    """Start bubblewrap for `spec` as `uid`. Raises OSError.

    The kernel kills bubblewrap, and bubblewrap the sandbox, when the calling *thread* ends, so that
    must be one that lives as long as the sandbox may. Blocks about 1 ms.
    """
    with ExitStack() as theirs, ExitStack() as ours:

        def pipe(reads: ExitStack, writes: ExitStack) -> tuple[int, int]:
            reading, writing = os.pipe()
            reads.callback(os.close, reading)
            writes.callback(os.close, writing)
            if uid != os.geteuid():
                os.fchown(reading, uid, uid)  # or the program could not open /dev/stdout
            return reading, writing

        def shared(content: bytes) -> int:
            descriptor = _memory_file(content)
            theirs.callback(os.close, descriptor)
            return descriptor

        stdin_theirs, stdin = pipe(theirs, ours)
        stdout, stdout_theirs = pipe(ours, theirs)
        stderr, stderr_theirs = pipe(ours, theirs)
        information, information_theirs = pipe(ours, theirs)
        channel, channel_theirs = pipe(ours, theirs) if spec.channel else (None, None)
        files = {path: shared(text.encode()) for path, text in spec.files.items()}
        system_calls = os.open(f"/proc/self/fd/{filter_file()}", os.O_RDONLY | os.O_CLOEXEC)
        theirs.callback(os.close, system_calls)
        options = [
            *bubblewrap_arguments(spec, paths, files),
            *("--seccomp", str(system_calls)),
            *("--info-fd", str(information_theirs)),
        ]
        arguments = shared("\0".join([*options, ""]).encode())
        inherited = [*files.values(), system_calls, information_theirs, arguments]
        with acting_as(uid) if uid != os.geteuid() else nullcontext():
            process = subprocess.Popen(  # noqa: S603, every word is ours
                [bwrap, "--args", str(arguments), *spec.shell, "-c", WAIT, "sandbox", "\n", name],
                env={},
                cwd="/",
                stdin=stdin_theirs,
                stdout=stdout_theirs,
                stderr=stderr_theirs,
                pass_fds=inherited if channel_theirs is None else [*inherited, channel_theirs],
                start_new_session=True,  # a Ctrl-C for the worker is not one for its sandboxes
            )
        ours.pop_all()
    return Launch(process, stdin, stdout, stderr, channel, channel_theirs, information)


@cache
def filter_file() -> int:
    """The system call filter as a file in memory, made once."""
    return _memory_file(filter_here())


def _memory_file(content: bytes) -> int:
    descriptor = os.memfd_create("argosy")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
