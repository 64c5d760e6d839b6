"""Which Python a source wants, where the deploy does not say: by the files that tools read."""

import re
from collections.abc import Mapping

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from api.projects import MAX_TEXT, PROJECT_FILE, read_project
from domain.dockerfiles import check_length
from domain.errors import Invalid
from domain.execution import Base, python_names

VERSION_FILE = ".python-version"
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
    text = files.get(VERSION_FILE, "")
    check_length(text, MAX_TEXT, path=VERSION_FILE, field=f"{field}.{VERSION_FILE}")
    named = _named(text)
    if named:
        if not elsewhere and all(each.python != named for each in (base, *base.others)):
            raise Invalid(
                f"{VERSION_FILE} asks for Python {named[:100]}; here is {python_names(base)}. "
                "Change the file, or have the operator install that Python (ARGOSY_PYTHONS).",
                field=f"{field}.{VERSION_FILE}",
            )
        return named
    return _required(files, base, field)


def _named(text: str) -> str:
    """Return the first version that a `.python-version` names; other names are not for us."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    first = next(filter(None, lines), "")
    found = _VERSION.fullmatch(first)
    return found[1] if found else ""


def _required(files: Mapping[str, str], base: Base, field: str) -> str:
    wanted = read_project(files, field=field).get("requires-python")
    field = f"{field}.{PROJECT_FILE}"
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
