"""Start compose.yaml for real, from images made of the Dockerfile, and use what came up.

Then an agent with system packages is built upon one of these images, and asked.

`python -m tests.containers` needs root, podman with runc, debootstrap and patchelf; the images are
kept for the next time in ARGOSY_CONTAINERS, or /var/tmp/argosy-containers. `images` only makes
them. `privileges` takes each privilege away from each service in turn, and says what fails then.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.composing import read_compose
from tests.containers.engine import Engine, need_podman
from tests.containers.packages import try_packages
from tests.containers.stack import PRIVILEGES, make_everything, stack
from tests.containers.walk import walk

UNTRIED = frozenset(
    {
        "build:KILL",  # only a build that is stopped half-way needs it
        "host:apparmor:unconfined",  # a kernel without AppArmor asks for nothing
        "build:apparmor:unconfined",
    }
)
STORE = Path(os.environ.get("ARGOSY_CONTAINERS", "/var/tmp/argosy-containers"))


def main() -> int:
    """Do what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.containers", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["all", "images", "privileges"], default="all")
    what = parser.parse_args().what
    try:
        need_podman()
    except pytest.skip.Exception as reason:
        _say(f"skipped: {reason}")
        return 0
    except pytest.fail.Exception as reason:
        _say(str(reason))
        return 1
    engine = Engine(STORE)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=STORE) as scratch:
        make_everything(engine, Path(scratch))
    _say(f"images made in {time.monotonic() - began:.0f} s")
    match what:
        case "all":
            wrong = [*_try(engine), *_try_packages(engine)]
        case "privileges":
            tried = [each for each in _privileges() if each not in UNTRIED]
            wrong = [f"{each} is not needed" for each in tried if not _is_missed(engine, each)]
        case _:
            wrong = []
    for each in wrong:
        _say(each)
    return 1 if wrong else 0


def _try(engine: Engine) -> Iterator[str]:
    """Start, use and stop it all; yields what is wrong."""
    began = time.monotonic()
    with stack(engine) as (found, machine):
        found.start()
        _say(f"started in {time.monotonic() - began:.0f} s")
        yield from walk(found, machine)
        yield from (f"{name} ended with {code}" for name, code in found.stop().items() if code)
        for name in found.services:
            yield from (f"{name}: {line}" for line in found.logs(name).splitlines() if _bad(line))
    _say(f"started, used and stopped in {time.monotonic() - began:.0f} s")


def _try_packages(engine: Engine) -> Iterator[str]:
    """Have an engine build an agent with system packages; yields what is wrong."""
    began = time.monotonic()
    yield from try_packages(engine)
    _say(f"packages built and used in {time.monotonic() - began:.0f} s")


def _is_missed(engine: Engine, privilege: str) -> bool:
    """Whether something fails without `service:PRIVILEGE`: if not, it need not have it."""
    try:
        with stack(engine, without=privilege) as (found, machine):
            found.start()
            trouble = walk(found, machine)
    except AssertionError as error:
        trouble = [str(error)[-300:]]
    _say(f"without {privilege}: {trouble[0] if trouble else 'nothing fails'}")
    return bool(trouble)


def _privileges() -> Iterator[str]:
    for name, service in read_compose().items():
        for kind in PRIVILEGES:
            yield from (f"{name}:{each}" for each in service.get(kind, []))


def _bad(line: str) -> bool:
    return '"level":"error"' in line or line.startswith("Traceback")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
