"""From files in a request to a definition: checked while the caller waits, stored as blobs.

Everything is checked before anything is stored; blobs of a deploy that is refused later are bytes
that nothing refers to.
"""

import re
from collections.abc import Mapping

from msgspec import Struct

from adapters.bases import python_version
from api.pythons import find_python
from api.syntax import Syntax
from domain.errors import Invalid
from domain.execution import (
    Base,
    ConfigurationDefinition,
    Definition,
    SourceDefinition,
    digest_of,
    plain_base,
    python_names,
)
from domain.frameworks import find_framework
from domain.ports import Blobs
from domain.sources import check_files, find_entry_point, holds_no_code

REQUIREMENTS_FILE = "requirements.txt"
MAX_TEXT = 100_000  # characters of a requirements text or a prompt
MAX_VARIABLES = 500
# What Linux gives a program: 128 KiB a variable, and some of the megabytes for all of them.
MAX_VARIABLE_BYTES = 100_000
MAX_ENVIRONMENT_BYTES = 1_000_000

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Source(Struct, frozen=True, kw_only=True):
    """What a caller sent. The `_field`s name the places in its body, for refusals.

    configured: it says what a model is to do, so files without any code are an agent all the same.
    """

    files: Mapping[str, str]
    entry_point: str = ""
    requirements: str | None = None
    framework: str = ""
    python: str = ""
    configured: bool = False
    files_field: str = "source.files"
    entry_point_field: str = "source.entry_point"
    requirements_field: str = "source.requirements"
    python_field: str = "source.python"


async def stored(source: Source, base: Base, syntax: Syntax, blobs: Blobs | None) -> Definition:
    """Check and store a source. Raises Invalid naming the field, and Unavailable.

    base: what it is judged by. blobs: None for a preview, which stores nothing; the definition is
    the same.
    """
    if not source.files:
        raise Invalid("A source has at least one file.", field=source.files_field)
    files = check_files(source.files, field=source.files_field)
    if source.configured and not source.entry_point and holds_no_code(files):
        return ConfigurationDefinition(files=await _kept(files, blobs))
    entry_point = find_entry_point(
        files, source.entry_point, field=source.entry_point_field, where=source.files_field
    )
    python = source.python or find_python(files, base, field=source.files_field)
    plain = _base_for(python, base, source.python_field)
    await syntax.check(files, python_version(plain), field=source.files_field)
    requirements = source.requirements
    if requirements is None or not requirements.strip():
        requirements = files.get(REQUIREMENTS_FILE, "")
    check_text(requirements, source.requirements_field)
    return SourceDefinition(
        files=await _kept(files, blobs),
        entry_point=entry_point,
        requirements=requirements.strip(),
        framework=source.framework or find_framework(files),
        python=python,
    )


def _base_for(python: str, base: Base, field: str) -> Base:
    """Return the plain base of a version of Python. Raises Invalid."""
    found = plain_base(python, base)
    if found is None:
        raise Invalid(
            f"Python {python} is not installed on this server; there is {python_names(base)}. Ask "
            f"for one of these in {field}, or have the operator install it (ARGOSY_PYTHONS).",
            field=field,
        )
    return found


async def _kept(files: Mapping[str, str], blobs: Blobs | None) -> dict[str, str]:
    """Store files; returns their digests by path."""
    paths = sorted(files)
    contents = [files[path].encode() for path in paths]
    if blobs is None:
        digests = [digest_of(each) for each in contents]
    else:
        digests = await blobs.put_all(contents)
    return dict(zip(paths, digests, strict=True))


def check_text(text: str, field: str) -> str:
    """Return a text that is short enough and has no NUL, which no process could be given."""
    if len(text) > MAX_TEXT:
        raise Invalid(f"{field} has at most {MAX_TEXT} characters.", field=field)
    if "\0" in text:
        raise Invalid(f"{field} must not contain NUL characters.", field=field)
    return text


def check_environment(environment: Mapping[str, str], *, field: str) -> dict[str, str]:
    """Return variables that a process can be given. Raises Invalid."""
    if len(environment) > MAX_VARIABLES:
        raise Invalid(f"{field} has at most {MAX_VARIABLES} variables.", field=field)
    for name, value in environment.items():
        if not _VARIABLE.fullmatch(name) or len(name) > 200:
            raise Invalid(
                f"{name[:100]!r} cannot be a variable: letters, digits and underscores, "
                "and no digit first.",
                field=f"{field}.{name[:100]}",
            )
        check_text(value, f"{field}.{name}")
        if len(value.encode()) > MAX_VARIABLE_BYTES:
            raise Invalid(
                f"{field}.{name} has at most {MAX_VARIABLE_BYTES} bytes.", field=f"{field}.{name}"
            )
    if sum(len(value.encode()) for value in environment.values()) > MAX_ENVIRONMENT_BYTES:
        raise Invalid(f"{field} has at most {MAX_ENVIRONMENT_BYTES} bytes.", field=field)
    return dict(environment)
