"""Checking the syntax of sources: small ones at once, others in a process that may cost so much.

Python's compiler holds the interpreter's lock to its end and takes several hundred times the bytes
it is given, so a few megabytes of source would stop all other requests and fill the memory.
"""

import asyncio
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from domain.errors import Invalid
from domain.sources import check_syntax

AT_ONCE_BYTES = 16 * 1024  # of Python checked in this process: some 50 ms at worst
PLACES = 2  # sources checked in processes of their own at one time
CPU_SECONDS = 10
SECONDS = 30.0
MEMORY_BYTES = 1 << 30
NICENESS = 10

PLACE = ("file", "line", "column")

_ROOT = Path(__file__).parents[1]


class Asked(Struct, frozen=True):
    """What a checking process reads from its standard input."""

    files: dict[str, str]
    python: tuple[int, int]
    field: str


class Refusal(Struct, frozen=True):
    """What it writes to its standard output if there is something wrong."""

    detail: str
    field: str
    place: dict[str, str | int]


class Syntax:
    """Checks sources for one process of the API."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(PLACES)

    async def check(self, files: Mapping[str, str], python: tuple[int, int], *, field: str) -> None:
        """Raise Invalid for Python files that cannot be compiled, or only at too high a cost.

        python: the version they are for. Nothing is said of files for a later one than this process
        runs on: it does not know that one's syntax.
        """
        if python > sys.version_info[:2]:
            return
        scripts = {path: text for path, text in files.items() if path.endswith(".py")}
        size = sum(len(text.encode()) for text in scripts.values())
        if size <= AT_ONCE_BYTES:
            check_syntax(scripts, python, field=field)
            return
        async with self._places:
            await _check_apart(Asked(scripts, python, field), size)


async def _check_apart(asked: Asked, size: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "api.syntax"),
        cwd=_ROOT,
        env={},  # it needs none of our secrets
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    answer = b""
    try:
        async with asyncio.timeout(SECONDS):
            answer, _ = await process.communicate(msgspec.json.encode(asked))
    except TimeoutError:
        pass  # told below, as of one that used up its processor time
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if answer:
        refusal = msgspec.json.decode(answer, type=Refusal)
        raise Invalid(refusal.detail, field=refusal.field, **refusal.place)
    if process.returncode != 0:
        raise Invalid(
            f"The {size} bytes of Python take too long or too much memory to compile; "
            "move data into files of another kind.",
            field=asked.field,
        )


def main() -> None:
    """Check what standard input asks for, within limits that end this process."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    try:
        check_syntax(asked.files, asked.python, field=asked.field)
    except Invalid as refusal:
        told = {"detail": refusal.detail, **refusal.members}
        place = {name: value for name, value in told.items() if name in PLACE}
        sys.stdout.buffer.write(msgspec.json.encode({**told, "place": place}))


if __name__ == "__main__":
    main()
