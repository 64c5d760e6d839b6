"""The interpreters of this machine that agents can run on."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

from domain.errors import Invalid

SETTING = "ARGOSY_PYTHONS"
SYSTEM_PYTHON = Path("/usr/bin/python3")
SYSTEM_FOLDER = Path("/usr/bin")
OLDEST = (3, 11)  # what the module inside the sandbox is written for
SECONDS = 10

_ASK = (
    "import json, os, platform, sys;"
    "print(json.dumps([os.path.realpath(sys.executable), os.path.realpath(sys.base_prefix),"
    " sys.version_info[:2], platform.libc_ver(), sys.implementation.name, sys.abiflags]))"
)


class Interpreter(Struct, frozen=True, array_like=True):
    """One interpreter. `python`, `prefix`: real paths. `libc`: its name and version."""

    python: str
    prefix: str
    version: tuple[int, int]
    libc: tuple[str, str]
    implementation: str = "cpython"
    flags: str = ""

    @property
    def why_not(self) -> str:
        """Why agents cannot run on it; empty if they can."""
        if self.implementation != "cpython" or self.flags:
            return f"is {self.implementation}{self.flags}, not an ordinary CPython"
        if self.version < OLDEST:
            return "is older than Python 3.11"
        # Another user, as every sandbox of a worker started by root is, must be able to read it.
        if os.geteuid() == 0 and Path(self.prefix).stat().st_mode & 0o005 != 0o005:
            return f"lies in {self.prefix}, which only its owner may read"
        return ""


@cache
def find_pythons(setting: str = "") -> tuple[Interpreter, ...]:
    """Return one for each minor version, the one for agents that name none first.

    That is the distribution's if it is new enough, else the one that Argosy runs on. The others are
    those of `setting` (ARGOSY_PYTHONS: absolute paths, with commas between them), by default
    /usr/bin/python3.N and the running one. Raises Invalid for a path that will not do.
    """
    found: dict[tuple[int, int], Interpreter] = {}
    for path in (SYSTEM_PYTHON, _running()):
        asked = _ask(path)
        if asked is not None and not asked.why_not and not found:
            found[asked.version] = asked
    named = [Path(word.strip()) for word in setting.split(",") if word.strip()]
    for path in named or _usual():
        asked = _ask(path)
        wrong = "cannot be run" if asked is None else asked.why_not
        if named and wrong:
            raise Invalid(f"{SETTING}: {path} {wrong}.", field=SETTING)
        if asked is not None and not wrong:
            found.setdefault(asked.version, asked)
    return tuple(found.values())


def _usual() -> Iterator[Path]:
    yield from sorted(
        path for path in SYSTEM_FOLDER.glob("python3.*") if re.fullmatch(r"3\.\d+", path.name[6:])
    )
    yield _running()


def _running() -> Path:
    """Return the interpreter below the environment that Argosy is installed in."""
    major, minor = sys.version_info[:2]
    return Path(sys.base_prefix, "bin", f"python{major}.{minor}")


def _ask(path: Path) -> Interpreter | None:
    """Return what an interpreter is; None if it does not say."""
    return _answer(path.resolve()) if path.is_absolute() else None


@cache
def _answer(path: Path) -> Interpreter | None:
    """Ask an interpreter, once, whatever links lead to it."""
    try:
        answer = subprocess.run(  # noqa: S603, a path of the operator's or the distribution's
            [path, "-I", "-S", "-c", _ASK],
            capture_output=True,
            check=True,
            env={},
            timeout=SECONDS,
        )
        return msgspec.json.decode(answer.stdout, type=Interpreter)
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return None
