"""From files in a request to a definition: checked while the caller waits, stored as blobs.

Everything is checked before anything is stored; blobs of a deploy that is refused later are bytes
that nothing refers to.
"""

import re
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from adapters.bases import python_version
from api.calls import Shared
from api.npm import check_packages
from api.projects import PROJECT_FILE, find_dependencies
from api.pythons import find_python
from domain.dockerfiles import read_dockerfile, read_system_packages
from domain.errors import Invalid
from domain.execution import (
    NODE_SUFFIXES,
    SYSTEM_FILES,
    ConfigurationDefinition,
    Definition,
    SourceDefinition,
    digest_of,
    dockerfile_of,
    find_refusal,
    is_node,
)
from domain.frameworks import find_framework, missing_packages
from domain.imports import imported_packages
from domain.ports import Blobs
from domain.requirements import REQUIREMENTS_FILE
from domain.sources import check_files, find_entry_point, holds_no_code

MAX_TEXT = 100_000  # characters of a prompt
MAX_REQUIREMENTS = 500_000  # characters: with the hashes of all wheels, a framework's take 300,000
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


async def stored(source: Source, shared: Shared, blobs: Blobs | None) -> Definition:
    """Check and store a source. Raises Invalid naming the field, and Unavailable.

    blobs: None for a preview, which stores nothing; the definition is the same.
    """
    base = shared.base
    if not source.files:
        raise Invalid("A source has at least one file.", field=source.files_field)
    files = check_files(source.files, field=source.files_field)
    if source.configured and not source.entry_point and holds_no_code(files):
        return ConfigurationDefinition(files=await _kept(files, blobs))
    dockerfile = dockerfile_of(files)
    entry_point = ""
    if source.entry_point or not dockerfile:  # which says itself what is started
        entry_point = find_entry_point(
            files, source.entry_point, field=source.entry_point_field, where=source.files_field
        )
    framework = source.framework or find_framework(files)
    definition = SourceDefinition(
        files={path: digest_of(text.encode()) for path, text in files.items()},
        entry_point=entry_point,
        requirements=_requirements(source, files, entry_point, framework),
        framework=framework,
        python="" if dockerfile else source.python or _python(files, source, shared),
    )
    _check_possible(definition, source, shared)
    _check_engine_files(files, source.files_field)
    if not dockerfile:  # which may bring any Python, and any packages
        if is_node(definition):
            check_packages(files, field=source.files_field)
        python = python_version(definition.python or base.python)
        await shared.syntax.check(files, python, field=source.files_field)
    return replace(definition, files=await _kept(files, blobs))


def _python(files: Mapping[str, str], source: Source, shared: Shared) -> str:
    installation = shared.installation
    elsewhere = installation.engine and installation.engine_network
    return find_python(files, shared.base, field=source.files_field, elsewhere=elsewhere)


def _requirements(
    source: Source, files: Mapping[str, str], entry_point: str, framework: str
) -> str:
    """Return what has to be installed: as it was sent, as the files that tools read say, or else
    what is imported (RunAgents' contract §3).
    """
    given = source.requirements
    if given is None or not given.strip():
        given = files.get(REQUIREMENTS_FILE, "")
    # A Dockerfile says itself what is installed, and JavaScript requires nothing of Python's.
    if not given.strip() and not dockerfile_of(files) and not entry_point.endswith(NODE_SUFFIXES):
        if PROJECT_FILE in files:
            given = find_dependencies(files, field=source.files_field)
        elif REQUIREMENTS_FILE not in files:
            several = missing_packages(files, ()) if not framework else []
            given = "\n".join([*several, *imported_packages(files)])
    return check_text(given, source.requirements_field, MAX_REQUIREMENTS).rstrip()


def _check_possible(definition: SourceDefinition, source: Source, shared: Shared) -> None:
    """Raise Invalid for what nothing here can build."""
    obstacle = find_refusal(definition, shared.base, shared.installation)
    if obstacle is None:
        return
    fields = {
        "files": f"{source.files_field}.{obstacle.path}",
        "requirements": source.requirements_field,
        "python": source.python_field,
    }
    raise Invalid(f"{obstacle.reason} {obstacle.cure}", field=fields[obstacle.part])


def _check_engine_files(files: Mapping[str, str], field: str) -> None:
    """Raise Invalid for what a container engine is not given."""
    if path := dockerfile_of(files):
        read_dockerfile(files[path], path=path, field=f"{field}.{path}")
        return
    for path in SYSTEM_FILES:
        read_system_packages(files.get(path, ""), path=path, field=f"{field}.{path}")


async def _kept(files: Mapping[str, str], blobs: Blobs | None) -> dict[str, str]:
    """Store files; returns their digests by path."""
    paths = sorted(files)
    contents = [files[path].encode() for path in paths]
    if blobs is None:
        digests = [digest_of(each) for each in contents]
    else:
        digests = await blobs.put_all(contents)
    return dict(zip(paths, digests, strict=True))


def check_text(text: str, field: str, most: int = MAX_TEXT) -> str:
    """Return a text that is short enough and has no NUL, which no process could be given."""
    if len(text) > most:
        raise Invalid(f"{field} has at most {most} characters.", field=field)
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
