"""Which base environments a source is checked and judged against, before a worker sees it."""

import re
import subprocess
from functools import cache

from adapters.base_locks import base_names, read_lock
from adapters.pythons import find_pythons
from domain.execution import Base

PLAIN = "python"
NODE = "/usr/bin/node"
OLDEST_NODE = 20  # what the module inside the sandbox is written for
SECONDS = 10


@cache
def find_base(pythons: str = "") -> Base:
    """Return the base "python": that of agents that name no version, with the others in it.

    pythons: the setting ARGOSY_PYTHONS. The sandboxes of this machine choose alike. Plain bases
    have no packages of their own; on top of each are the bases of frameworks, as their lock files
    say. Raises Invalid for a setting that is wrong.
    """
    first, *others = [
        f"{major}.{minor}" for major, minor in (each.version for each in find_pythons(pythons))
    ]
    return Base(
        name=PLAIN,
        python=first,
        node=_node(),
        frameworks=_frameworks(first, ""),
        others=tuple(
            Base(
                name=f"{PLAIN}{python}",
                python=python,
                frameworks=_frameworks(python, f"-{PLAIN}{python}"),
            )
            for python in others
        ),
    )


def _node() -> str:
    """Return the name of the base that is this machine's Node; empty if that is missing or old."""
    try:
        answer = subprocess.run(  # noqa: S603, a fixed path
            [NODE, "--version"], capture_output=True, check=True, text=True, env={}, timeout=SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.match(r"v(\d+)\.", answer.stdout)
    return f"node{found[1]}" if found and int(found[1]) >= OLDEST_NODE else ""


def _frameworks(python: str, suffix: str) -> tuple[Base, ...]:
    return tuple(
        Base(
            name=f"{name}{suffix}",
            python=python,
            packages={locked.name: locked.version for locked in read_lock(name, python)},
        )
        for name in base_names()
    )


def python_version(python: str) -> tuple[int, int]:
    """Return the first two numbers of a version like "3.13"."""
    major, minor = python.split(".")[:2]
    return int(major), int(minor)
