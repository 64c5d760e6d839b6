"""The plain base environments: an interpreter of this machine, and its system libraries.

`/usr` read-only, without what was added to it by hand or by Debian's Python packages, and an
`/etc` of a few made-up files. Nothing else of the host is in it.
"""

import platform
import sys
from functools import cache
from pathlib import Path

import msgspec

from adapters.pythons import Interpreter, find_pythons
from workers.sandboxes.driver import Mount, SandboxUnsupported, Symlink

TOP_LEVEL = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
HIDDEN = ("/usr/local", "/usr/lib/python3/dist-packages")

FILES = {
    "/etc/passwd": "root:x:0:0:root:/:/bin/false\nagent:x:1000:1000:agent:/tmp:/bin/sh\n",
    "/etc/group": "root:x:0:\nagent:x:1000:\n",
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
# Where the host has the certificates that it trusts; not every sandbox is shown them.
CERTIFICATES = ("/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted")


class Base(msgspec.Struct, frozen=True):
    """What to put into a Spec, and what to resolve requirements for.

    python: the interpreter's path, the same inside and outside.
    version: like "3.11". tag: like "cp311". platform: like "manylinux_2_36_x86_64".
    """

    python: str
    version: str
    tag: str
    platform: str
    layers: tuple[Mount, ...]
    symlinks: tuple[Symlink, ...]
    hidden: tuple[str, ...]
    files: dict[str, str]


@cache
def find_bases(pythons: str = "") -> tuple[Base, ...]:
    """The plain bases of this machine, that of agents that name no version first.

    pythons: the setting ARGOSY_PYTHONS. Raises SandboxUnsupported if there is no interpreter.
    """
    found = find_pythons(pythons) if sys.platform == "linux" else ()
    if not found:
        raise SandboxUnsupported(
            "No Python of at least 3.11 was found for sandboxes on this machine."
        )
    return tuple(map(_base, found))


def find_base() -> Base:
    """The base of agents that name no version of Python. Raises SandboxUnsupported."""
    return find_bases()[0]


def _base(interpreter: Interpreter) -> Base:
    prefix = Path(interpreter.prefix)
    layers = [Mount("/usr", "/usr")]
    symlinks: list[Symlink] = []
    for name in TOP_LEVEL:
        path = Path("/", name)
        if path.is_symlink():
            symlinks.append(Symlink(str(path.readlink()), str(path)))
        elif path.is_dir():
            layers.append(Mount(str(path), str(path)))
    if not prefix.is_relative_to("/usr"):
        layers.append(Mount(str(prefix), str(prefix)))
    hidden = tuple(h for h in HIDDEN if Path(h).is_dir() and not prefix.is_relative_to(h))
    major, minor = interpreter.version
    return Base(
        python=interpreter.python,
        version=f"{major}.{minor}",
        tag=f"cp{major}{minor}",
        platform=_platform(*interpreter.libc),
        layers=tuple(layers),
        symlinks=tuple(symlinks),
        hidden=hidden,
        files=FILES,
    )


def _platform(libc: str, version: str) -> str:
    machine = platform.machine()
    if libc == "glibc":
        major, minor = version.split(".")[:2]
        return f"manylinux_{major}_{minor}_{machine}"
    return f"linux_{machine}"
