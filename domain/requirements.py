"""Requirements as pip reads them: their lines, and the names of packages."""

import re
from collections.abc import Iterator

REQUIREMENTS_FILE = "requirements.txt"
# Provided by every base environment: the in-sandbox module answers to both names.
PROVIDED = frozenset({"argosy", "runagents"})

_HASH = re.compile(r"\s--hash[=\s](\S+)")


def requirement_lines(requirements: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a pip requirements text, and the number at which each begins, from 1.

    Without comments and blanks; continuations are joined.
    """
    pending = ""
    start = 1
    for number, raw in enumerate(requirements.removeprefix("\ufeff").splitlines(), 1):
        if not pending:
            start = number
        if raw.endswith("\\"):
            pending += raw[:-1] + " "
            continue
        line = re.sub(r"(^|\s)#.*$", "", pending + raw).strip()
        pending = ""
        if line:
            yield start, line
    if pending.strip():
        yield start, pending.strip()


def split_hashes(line: str) -> tuple[str, frozenset[str]]:
    """Return a requirement line without its `--hash` options, and the hashes that they name."""
    return _HASH.sub("", line).strip(), frozenset(_HASH.findall(line))


def normalised(name: str) -> str:
    """Return a package name as PEP 503 compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_elsewhere(line: str) -> bool:
    """Whether a requirement is an option of pip, a URL or a path."""
    head = line.partition(";")[0].strip()
    return (
        head.startswith(("-", "."))
        or "/" in head.partition(" --")[0]
        or head.endswith((".whl", ".tar.gz", ".zip"))
    )
