"""What bubblewrap is told, and what the shell it starts inside is told next.

bubblewrap starts a shell (`Spec.shell`) with WAIT and not the program itself. When its first byte
comes, all of the sandbox stands, so that opening it can fail before anything was asked to run, and
the working directory can be opened from outside. The shell then reads one line, which becomes the
program; it reads byte by byte, so what follows the line is the program's own input.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from domain.errors import Invalid
from domain.limits import Limits
from workers.sandboxes.driver import GATEWAY_DIRECTORY, Spec
from workers.sandboxes.namespaces import Paths

READY = b"r"
# "$1" is a line feed, which the line could not hold, and no variable of a program's can replace it.
# "$2" is only there to be seen from outside: it names the sandbox, and so its owner.
WAIT = 'printf r\nIFS= read -r line || exit 125\neval "$line"\nexit 125'

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
INSIDE_ID = "1000"
SHARED_MEMORY = "/dev/shm"  # noqa: S108, a path inside
TEMPORARY = "/tmp"  # noqa: S108, as above


def bubblewrap_arguments(spec: Spec, paths: Paths, files: Mapping[str, int]) -> list[str]:
    """Everything but the descriptors of one start. `files`: descriptors of `spec.files`."""
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"),
        *("--new-session", "--uid", INSIDE_ID, "--gid", INSIDE_ID, "--hostname", spec.hostname),
        *("--clearenv", "--setenv", "PATH", PATH),
        *_flat(("--symlink", link.target, link.path) for link in spec.symlinks),
        *_flat(("--ro-bind", paths.open_path(m.source), m.target) for m in spec.layers),
        *_flat(("--tmpfs", path, "--remount-ro", path) for path in spec.hidden),
        *_flat(("--perms", "0644", "--file", str(fd), path) for path, fd in files.items()),
        # The kernel's settings are read-only to every uid but root; this is for when one is not.
        *("--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"),
        *("--dev", "/dev", *_tmpfs(SHARED_MEMORY, spec.tmp_mb, "1777")),
        *_tmpfs(TEMPORARY, spec.tmp_mb, "1777"),
        *_tmpfs(spec.working_directory, spec.limits.disk_mb, "0755"),
        *_flat(("--bind", paths.open_path(m.source), m.target) for m in spec.writable),
        *(
            ("--ro-bind", paths.open_path(spec.gateway), GATEWAY_DIRECTORY)
            if spec.gateway is not None
            else ()
        ),
        # Both are tmpfs of unlimited size otherwise.
        *("--remount-ro", "/dev", "--remount-ro", "/"),
        *("--chdir", spec.working_directory),
    ]


def program_line(
    argv: Sequence[str], environment: Mapping[str, str], limits: Limits | None
) -> bytes:
    """The line for the waiting shell. `limits`: those to set for each process; None for none.

    Raises Invalid for what cannot be passed.
    """
    steps = ["ulimit -c 0"]
    if limits is not None:
        processes = limits.pids + 1  # pid 1 has the same uid
        steps += [
            f"ulimit -v {limits.memory_mb * 1024}",
            # dash calls it -p, bash -u
            f"{{ ulimit -p {processes} || ulimit -u {processes}; }} 2>/dev/null",
            # If the machine's memory runs out, this goes first.
            "echo 1000 >/proc/self/oom_score_adj",
        ]
    check_environment(environment)
    for name, value in environment.items():
        steps.append(f"export {name}={_quoted(value, 'environment')}")
    if not argv:
        raise Invalid("There is no program to run.", field="argv")
    steps.append("exec " + " ".join(_quoted(argument, "argv") for argument in argv))
    # Each limit must be set, or nothing runs.
    return " && ".join(steps).encode("utf-8", "surrogateescape") + b"\n"


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise Invalid for what no program can be given."""
    for name, value in environment.items():
        if not NAME.fullmatch(name):
            raise Invalid(
                f"The environment's name {name!r} is not made of letters, digits and _.",
                field="environment",
            )
        _check_nul(value, "environment")


def _check_nul(text: str, field: str) -> None:
    if "\0" in text:
        raise Invalid("A NUL cannot be passed to a program.", field=field)


def _quoted(text: str, field: str) -> str:
    _check_nul(text, field)
    quoted = "'" + text.replace("'", "'\\''") + "'"
    return quoted.replace("\n", "'\"$1\"'")


def _flat(options: Iterable[tuple[str, ...]]) -> list[str]:
    return [word for option in options for word in option]


def _tmpfs(path: str, size_mb: int, mode: str) -> tuple[str, ...]:
    return ("--perms", mode, "--size", str(size_mb << 20), "--tmpfs", path)
