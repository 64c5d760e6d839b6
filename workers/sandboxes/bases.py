"""The base environment "plain Python": the interpreter and system libraries of this machine.

`/usr` read-only, without what was added to it by hand or by Debian's Python packages, and an
`/etc` of a few made-up files. Nothing else of the host is in it.
"""

import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

import msgspec

from workers.sandboxes.driver import Mount, SandboxUnsupported, Symlink

SYSTEM_PYTHON = Path("/usr/bin/python3")
OLDEST = (3, 11)
TOP_LEVEL = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
HIDDEN = ("/usr/local", "/usr/lib/python3/dist-packages")

FILES = {
    "/etc/passwd": "root:x:0:0:root:/:/bin/false\nagent:x:1000:1000:agent:/tmp:/bin/sh\n",
    "/etc/group": "root:x:0:\nagent:x:1000:\n",
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
# What a sandbox with the host's network needs besides, where the host has it.
NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts")
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


class _Interpreter(msgspec.Struct, frozen=True):
    python: str
    prefix: str
    version: tuple[int, int]
    libc: tuple[str, str]


ASK = (
    "import json, os, platform, sys;"
    "print(json.dumps([os.path.realpath(sys.executable), sys.base_prefix,"
    " sys.version_info[:2], platform.libc_ver()]))"
)


@cache
def find_base() -> Base:
    """The base of this machine. Raises SandboxUnsupported if no interpreter is new enough."""
    interpreter = _system_interpreter() or _running_interpreter()
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


def for_network(base: Base) -> Base:
    """The base with the host's resolver and certificates, for a sandbox with its network."""
    files = dict(base.files)
    for path in NETWORK_FILES:
        if Path(path).is_file():
            files[path] = Path(path).read_text()
    certificates = tuple(Mount(path, path) for path in CERTIFICATES if Path(path).is_dir())
    return msgspec.structs.replace(base, files=files, layers=base.layers + certificates)


def _system_interpreter() -> _Interpreter | None:
    """The distribution's, which every uid can read; None if it is missing or too old."""
    if not SYSTEM_PYTHON.exists():
        return None
    answer = subprocess.run(  # noqa: S603, a fixed path
        [SYSTEM_PYTHON, "-I", "-S", "-c", ASK], capture_output=True, check=False, env={}
    )
    if answer.returncode != 0:
        return None
    found = _Interpreter(
        *msgspec.json.decode(answer.stdout, type=tuple[str, str, tuple[int, int], tuple[str, str]])
    )
    return found if found.version >= OLDEST else None


def _running_interpreter() -> _Interpreter:
    if sys.version_info < OLDEST or sys.platform != "linux":
        raise SandboxUnsupported(
            "No Python of at least 3.11 was found for sandboxes on this machine."
        )
    executable = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    return _Interpreter(
        str(executable.resolve()), sys.base_prefix, sys.version_info[:2], platform.libc_ver()
    )


def _platform(libc: str, version: str) -> str:
    machine = platform.machine()
    if libc == "glibc":
        major, minor = version.split(".")[:2]
        return f"manylinux_{major}_{minor}_{machine}"
    return f"linux_{machine}"
