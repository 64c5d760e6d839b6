"""What a `pyproject.toml` at the top of a source says of it: its `[project]` table (PEP 621)."""

import tomllib
from collections.abc import Mapping
from typing import Any, cast

from domain.dockerfiles import check_length
from domain.errors import Invalid

PROJECT_FILE = "pyproject.toml"
MAX_TEXT = 100_000  # characters of a file; reading one takes as long as everybody waits
MAX_DOTS = 500  # in a line of TOML: reading a key takes as long as the square of its parts


def read_project(files: Mapping[str, str], *, field: str) -> Mapping[str, Any]:
    """Return the table, empty where there is none. Raises Invalid for what is not TOML, or long.

    Any: what TOML holds is whatever somebody wrote.
    """
    text, field = files.get(PROJECT_FILE, ""), f"{field}.{PROJECT_FILE}"
    check_length(text, MAX_TEXT, path=PROJECT_FILE, field=field)
    if any(line.count(".") > MAX_DOTS for line in text.split("\n")):
        raise Invalid(f"{PROJECT_FILE} has a line of more than {MAX_DOTS} dots.", field=field)
    try:
        project = tomllib.loads(text).get("project")
    except (ValueError, RecursionError) as error:  # a number, or a nesting, without end
        raise Invalid(f"{PROJECT_FILE} is not TOML: {error}.", field=field) from None
    return cast("dict[str, Any]", project) if isinstance(project, dict) else {}


def find_dependencies(files: Mapping[str, str], *, field: str) -> str:
    """Return `dependencies` as a requirements text, a line each. Raises Invalid."""
    listed: Any = read_project(files, field=field).get("dependencies", [])
    if not isinstance(listed, list) or not all(
        isinstance(each, str) for each in cast("list[Any]", listed)
    ):
        raise Invalid(
            f'{PROJECT_FILE}: dependencies are a list of texts, such as ["httpx>=0.28"].',
            field=f"{field}.{PROJECT_FILE}",
        )
    return "\n".join(cast("list[str]", listed))
