"""Our own interpreter and shell beside an image's files, which may have neither, nor any library.

This machine's base is mounted at a place of its own. Programs of it are started through its own
loader, which is told where its libraries are, so nothing of the image is loaded into them.
"""

import subprocess
from functools import cache
from pathlib import Path

from msgspec import Struct

from workers.sandboxes.bases import Base
from workers.sandboxes.driver import Mount, SandboxUnsupported, Symlink

# Below /run, which is never the image's own: nothing there can be in the way.
PLACE = "/run/argosy-host"
SHELL = "/bin/sh"

_SHELL_MAPS = 'while read -r line; do echo "$line"; done </proc/self/maps'
_PYTHON_MAPS = "import _socket, select, math; print(open('/proc/self/maps').read())"


class Beside(Struct, frozen=True):
    """What to mount, the words that begin a command line with the shell, and the interpreter's.

    python_start: those before its own path.
    """

    layers: tuple[Mount, ...]
    symlinks: tuple[Symlink, ...]
    hidden: tuple[str, ...]
    shell: tuple[str, ...]
    python_start: tuple[str, ...]
    python: str


def put_beside(base: Base) -> Beside:
    """Return the base at its place. Raises SandboxUnsupported if its loader cannot be told."""
    *start, python = _started((base.python, "-I", "-S", "-c", _PYTHON_MAPS))
    return Beside(
        layers=tuple(Mount(mount.source, PLACE + mount.target) for mount in base.layers),
        symlinks=tuple(Symlink(link.target, PLACE + link.path) for link in base.symlinks),
        hidden=tuple(PLACE + path for path in base.hidden),
        shell=_started((SHELL, "-c", _SHELL_MAPS)),
        python_start=tuple(start),
        python=python,
    )


@cache
def _started(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return how to start the program of `argv`, which says what of files it has in memory."""
    answer = subprocess.run(argv, capture_output=True, check=False, env={}, text=True)  # noqa: S603 - our own words
    words = [line.split(maxsplit=5) for line in answer.stdout.splitlines()]
    files = {Path(line[5]) for line in words if len(line) == 6 and line[5].startswith("/")}
    loaders = sorted(str(path) for path in files if path.name.startswith(("ld-", "ld64")))
    if not loaders:
        raise SandboxUnsupported(f"What loads {argv[0]} on this machine could not be found.")
    folders = sorted({str(path.parent) for path in files if ".so" in path.name})
    library_path = ":".join(PLACE + folder for folder in folders)
    program = str(Path(argv[0]).resolve())
    return (PLACE + loaders[0], "--library-path", library_path, PLACE + program)
