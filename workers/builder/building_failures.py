"""What can go wrong when a package is built from source, in words for the person who deployed."""

import re
from collections.abc import Sequence

from workers.builder.failures import MAX_DETAIL, Failure
from workers.builder.sdists import Sdist

STEP = "source"
LAST_LINES = 8

# A word is looked at from its beginning alone: it may be long, and of somebody's choosing.
_TOOL = r"(?:[^\s']*(?:gcc|g\+\+|clang|cc|c\+\+|gfortran|rustc|cargo|cmake|ninja|make|pkg-config))"
_NO_TOOL = re.compile(
    rf"command '({_TOOL})' failed: No such file or directory"
    rf"|No such file or directory: '({_TOOL})'"
    rf"|(?<![^\s'])({_TOOL}): (?:command )?not found"
    r"|Unknown compiler\(s\): \[?\[?'([^']+)'"
    r"|can't find (Rust) compiler"
)
_NO_HEADER = re.compile(r"fatal error: ([\w./+-]+\.h\w*): No such file or directory")
_NO_NETWORK = re.compile(
    r"Temporary failure in name resolution|Name or service not known|Network is unreachable"
    r"|Could not resolve host"
)

_WHEELS = (
    "Choose a version that has wheels for this Python and platform (see the package's files on "
    "its index), or another package."
)


def build_failed(sdist: Sdist, complaint: Sequence[str]) -> Failure:
    """Return the failure of a package's own build, with the last that it wrote."""
    text = "\n".join(complaint)[-100_000:]
    last = " / ".join([line.strip() for line in complaint if line.strip()][-LAST_LINES:])
    name = f"{sdist.place}{sdist.name} {sdist.version}"
    said = f" Its build ended with: {last[-MAX_DETAIL:] or 'nothing'}"
    if found := _NO_TOOL.search(text):
        tool = next(filter(None, found.groups()))
        return Failure(
            step=STEP,
            detail=f"{name} has no wheel for this Python, and to build it from source takes "
            f"{tool!r}, which this build machine does not have.{said}",
            hint=f"{_WHEELS} Or have the operator install {tool!r} on the build machine.",
        )
    if found := _NO_HEADER.search(text):
        return Failure(
            step=STEP,
            detail=f"{name} could not be built from source: the build machine does not have the "
            f"header {found[1]}.{said}",
            hint=f"{_WHEELS} Or have the operator install the library's development files.",
        )
    if _NO_NETWORK.search(text):
        return Failure(
            step=STEP,
            detail=f"{name} could not be built from source: its build wants the network, and "
            f"packages are built without one.{said}",
            hint=_WHEELS,
        )
    return Failure(
        step=STEP,
        detail=f"{name} has no wheel for this Python and could not be built from source.{said}",
        hint=_WHEELS,
    )


def unmet(sdist: Sdist, why: str) -> Failure:
    """Return the failure of a package that requires something for its build that is not there."""
    return Failure(
        step=STEP,
        detail=f"{sdist.place}{sdist.name} {sdist.version} has no wheel for this Python, and what "
        f"it requires to be built from source cannot be had: {why}",
        hint=_WHEELS,
    )
