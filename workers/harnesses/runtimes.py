"""The runtime layer: the packages `argosy` and `runagents` as agent code finds them in a sandbox.

It is mounted read-only at `Task.runtime_target` and is all that our own harnesses need inside.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

from domain.errors import Unavailable

# Of the published package, only what runs inside: no client, no dependencies.
_MODULES = (
    "agent",
    "_calling",
    "_channel",
    "_chat",
    "_entry",
    "_failures",
    "_forwarder",
    "_http",
    "_image",
    "_loop",
    "_node",
    "_rewrites",
    "_runagents",
    "_runner",
    "_server",
    "_serving",
    "_tools",
)

COMPILE_SECONDS = 60


@cache
def runtime_files() -> dict[str, bytes]:
    """Return the layer's files by path, the same for every base environment."""
    package = resources.files("argosy")
    files = {f"argosy/{name}.py": (package / f"{name}.py").read_bytes() for name in _MODULES}
    files["argosy/_node.mjs"] = (package / "_node.mjs").read_bytes()
    files["argosy/__init__.py"] = b""
    # `agent` and `runtime` are where that package's own users import from, too.
    for name in ("__init__", "agent", "runtime"):
        files[f"runagents/{name}.py"] = b"from argosy._runagents import *\n"
    return files


def runtime_digest(python: str) -> str:
    """Return the layer's digest (hex) for one interpreter: of its files and the interpreter's."""
    digest = hashlib.sha256()
    for path, data in sorted(runtime_files().items()):
        digest.update(f"{path} {len(data)}\n".encode())
        digest.update(data)
    real = Path(python).resolve(strict=True)
    digest.update(f"{real} {real.stat().st_size} {real.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


def write_runtime(folder: Path, python: str) -> Path:
    """Return the layer's directory below `folder`, made and compiled if it is not there yet.

    python: the base environment's interpreter, which can be run here. Compiling with it halves the
    time to an agent's first line. Safe to call from several processes at once. Readable by any uid.
    Raises Unavailable if the interpreter cannot be run.
    """
    place = folder / f"runtime-{runtime_digest(python)[:32]}"
    if place.is_dir():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=".runtime-", dir=folder))
    try:
        for path, data in runtime_files().items():
            target = making / path
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)
        _compile(making, python)
        for each in (making, *making.rglob("*")):
            each.chmod(0o755 if each.is_dir() else 0o644)
            _sync(each)
        _move(making, place)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return place


def _compile(folder: Path, python: str) -> None:
    # Unchecked: the layer never changes, and its times are those of whoever unpacked it. The paths
    # in tracebacks are cut at the folder, for it is mounted elsewhere.
    options = ("-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder))
    argv = (python, "-I", "-S", "-m", "compileall", *options, str(folder))
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own interpreter
            argv,
            capture_output=True,
            check=False,
            env={"PATH": os.defpath},
            timeout=COMPILE_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"The interpreter {python} cannot be run: {error}") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
        raise Unavailable(f"The interpreter {python} cannot compile the runtime: {said[-500:]}")


def _sync(path: Path) -> None:
    """Have it on the disk before it has its name, which says that it is whole."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move(making: Path, place: Path) -> None:
    """Put the directory in its place at once; whoever was first has made the same."""
    try:
        making.rename(place)
    except OSError:
        if not place.is_dir():
            raise
