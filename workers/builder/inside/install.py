"""In a build sandbox: install wheels, each into a directory of its own, and compile them.

Reads {"uv": […], "each": {directory: requirement}} from standard input: uv's command without
requirement and target, and what is to be installed by the directory below `OUT` that it goes into.
uv's words of each go to standard error together, of one that succeeded only what it installed and
warned of; ends with the exit code of the first that failed.
No code of a package runs. Standard library only; nothing of Argosy is in that sandbox.
"""

import compileall
import json
import os
import py_compile
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

OUT = Path("/out")
CORES = int(os.environ["RAYON_NUM_THREADS"])
AT_ONCE = 8  # most of the time is waiting for the index
TELLING = (b" + ", b"warning:")


def main() -> int:
    asked = json.load(sys.stdin)
    command: list[str] = asked["uv"]
    each: dict[str, str] = asked["each"]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        codes = list(pool.map(install, repeat(command), each, each.values()))
    if failed := next(filter(None, codes), 0):
        return failed
    compile_all(list(each))
    return 0


def install(command: list[str], name: str, requirement: str) -> int:
    """Install one, from the cache if all of it is there; returns uv's exit code."""
    (OUT / name).mkdir()
    ended = run_uv([*command, "--offline"], name, requirement)
    if ended.returncode:
        ended = run_uv(command, name, requirement)
    lines = ended.stderr.splitlines(keepends=True)
    telling = lines if ended.returncode else [line for line in lines if line.startswith(TELLING)]
    sys.stderr.buffer.write(b"".join(telling))
    sys.stderr.buffer.flush()
    return ended.returncode


def run_uv(command: list[str], name: str, requirement: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603, a command of Argosy's
        [*command, "-r", "-", "--target", str(OUT / name)],
        input=requirement.encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )


def compile_all(names: list[str]) -> None:
    """Compile every module, by as many processes as there are cores; some are for other Pythons."""
    files = [str(path) for name in names for path in sorted((OUT / name).rglob("*.py"))]
    children: list[int] = []
    for number in range(CORES):
        child = os.fork()
        if child == 0:
            for file in files[number::CORES]:
                compileall.compile_file(
                    file,
                    quiet=2,
                    force=True,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                )
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    sys.exit(main())
