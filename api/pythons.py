"""Which Python a source wants, where the deploy does not say: by the files that tools read."""

import re
import tomllib
from collections.abc import Mapping
from typing import Any, cast

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from domain.dockerfiles import check_length
from domain.errors import Invalid
from domain.execution import Base, python_names

VERSION_FILE = ".python-version"
PROJECT_FILE = "pyproject.toml"
MAX_TEXT = 100_000  # characters of a file; reading one takes as long as everybody waits
MAX_DOTS = 500  # in a line of TOML: reading a key takes as long as the square of its parts
MAX_RANGE = 200  # of `requires-python`
MOST_PATCHES = 100  # releases of one minor version that `requires-python` is judged by

_VERSION = re.compile(r"(?:cpython-|python-?)?(\d+\.\d+)(?:\.\d+)?")


def find_python(
    files: Mapping[str, str], base: Base, *, field: str, elsewhere: bool = False
) -> str:
    """Return a version like "3.13", empty where the files have no wish that `base` does not meet.

    `.python-version` goes before `requires-python` in pyproject.toml, for which the newest Python
    that there is will do. Only what is at the top of the source counts. elsewhere: whether one
    that is not there can be had for the build. Raises Invalid.
    """
    for path in (VERSION_FILE, PROJECT_FILE):
        check_length(files.get(path, ""), MAX_TEXT, path=path, field=f"{field}.{path}")
    named = _named(files.get(VERSION_FILE, ""))
    if named:
        if not elsewhere and all(each.python != named for each in (base, *base.others)):
            raise Invalid(
                f"{VERSION_FILE} asks for Python {named[:100]}; here is {python_names(base)}. "
                "Change the file, or have the operator install that Python (ARGOSY_PYTHONS).",
                field=f"{field}.{VERSION_FILE}",
            )
        return named
    return _required(files.get(PROJECT_FILE, ""), base, f"{field}.{PROJECT_FILE}")


def _named(text: str) -> str:
    """Return the first version that a `.python-version` names; other names are not for us."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    first = next(filter(None, lines), "")
    found = _VERSION.fullmatch(first)
    return found[1] if found else ""


def _required(text: str, base: Base, field: str) -> str:
    if any(line.count(".") > MAX_DOTS for line in text.split("\n")):
        raise Invalid(f"{PROJECT_FILE} has a line of more than {MAX_DOTS} dots.", field=field)
    try:
        project: Any = tomllib.loads(text).get("project")
    except (ValueError, RecursionError) as error:  # also for numbers beyond all measure
        raise Invalid(f"{PROJECT_FILE} is not TOML: {error}.", field=field) from None
    if not isinstance(project, dict):
        return ""
    # Any: what TOML holds is whatever somebody wrote.
    wanted = cast("dict[str, Any]", project).get("requires-python")
    if not isinstance(wanted, str) or not wanted.strip():
        return ""
    specifiers = _specifiers(wanted)
    if specifiers is None:
        raise Invalid(
            f"{PROJECT_FILE}: requires-python is {wanted[:100]!r}; write it like >=3.11.",
            field=field,
        )
    if _meets(base.python, specifiers):
        return ""
    others = [each.python for each in base.others if _meets(each.python, specifiers)]
    if not others:
        raise Invalid(
            f"{PROJECT_FILE} requires Python {wanted[:100]}; here is {python_names(base)}. Change "
            "requires-python, or have the operator install such a Python (ARGOSY_PYTHONS).",
            field=field,
        )
    return max(others, key=lambda python: [int(number) for number in python.split(".")])


def _specifiers(wanted: str) -> SpecifierSet | None:
    if len(wanted) > MAX_RANGE:
        return None
    try:
        return SpecifierSet(wanted)
    except InvalidSpecifier:
        return None


def _meets(python: str, specifiers: SpecifierSet) -> bool:
    """Whether a release of a minor version meets them: which one is there is not known here."""
    return any(specifiers.contains(f"{python}.{patch}") for patch in range(MOST_PATCHES))
