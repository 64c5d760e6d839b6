"""Which base environments a source is checked and judged against, before a worker sees it."""

from functools import cache

from adapters.base_locks import base_names, read_lock
from adapters.pythons import find_pythons
from domain.execution import Base

PLAIN = "python"


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


def _frameworks(python: str, suffix: str) -> tuple[Base, ...]:
    return tuple(
        Base(
            name=f"{name}{suffix}",
            python=python,
            packages={locked.name: locked.version for locked in read_lock(name, python)},
        )
        for name in base_names()
    )


def python_version(base: Base) -> tuple[int, int]:
    """Return a base's Python version as numbers."""
    major, minor = base.python.split(".")[:2]
    return int(major), int(minor)
