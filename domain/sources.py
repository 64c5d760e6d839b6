"""Checks of an agent's source while its deploy waits: paths, text, entry point, syntax.

A refusal names the file (and line and column) in `field` and `detail`, so that it can be mended.
"""

import ast
import re
import warnings
from collections.abc import Mapping
from pathlib import PurePosixPath

from domain.errors import Invalid

MAX_FILES = 2_000
MAX_FILE_BYTES = 5_000_000
MAX_TOTAL_BYTES = 9_000_000
MAX_PATH_LENGTH = 512
MAX_NAME_BYTES = 255  # of one file or folder: what file systems take

# Where an entry point is looked for when none is named, in this order (RunAgents' examples use the
# first; the rest is what other frameworks' templates call it).
ENTRY_POINTS = ("agent.py", "main.py", "app.py", "handler.py", "src/agent.py", "src/main.py")

NODE_ENTRY_POINTS = ("agent.mjs", "agent.js", "agent.cjs", "index.mjs", "index.js", "index.cjs")

# What is read and never run: prompts, documents, data.
DOCUMENT_SUFFIXES = frozenset(
    {".csv", ".json", ".jsonl", ".md", ".prompt", ".rst", ".toml", ".txt", ".yaml", ".yml"}
)
DOCUMENT_NAMES = frozenset({"LICENSE", "NOTICE", "PROMPT", "README"})

# Also line separators, and what turns the direction of writing: names are shown to people.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def check_name(name: str, *, field: str) -> str:
    """Return a name usable as agent, deployment, workspace and tool name: a DNS label."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{field} must be 1 to 63 lower-case letters, digits and hyphens, and start and end "
            f"with a letter or digit; got {name!r}.",
            field=field,
        )
    return name


def check_files(files: Mapping[str, str], *, field: str = "source_files") -> dict[str, str]:
    """Return the files by normalised path. Raises Invalid for any that could leave the tree."""
    if len(files) > MAX_FILES:
        raise Invalid(f"{field} has {len(files)} files; {MAX_FILES} are allowed.", field=field)
    checked: dict[str, str] = {}
    total = 0
    for path, text in files.items():
        place = f"{field}.{path}"
        normal = _check_path(path, place)
        if normal in checked:
            raise Invalid(f"{path!r} is there twice.", field=place)
        size = len(_encoded(text, place))
        if size > MAX_FILE_BYTES:
            raise Invalid(f"{path} is {size} bytes; {MAX_FILE_BYTES} are allowed.", field=place)
        total += size
        checked[normal] = text
    if total > MAX_TOTAL_BYTES:
        raise Invalid(f"{field} is {total} bytes; {MAX_TOTAL_BYTES} are allowed.", field=field)
    folders: set[str] = set()
    for path in checked:
        parent = path.rpartition("/")[0]
        while parent and parent not in folders:
            if parent in checked:
                raise Invalid(f"{parent} is a file and a folder.", field=f"{field}.{path}")
            folders.add(parent)
            parent = parent.rpartition("/")[0]
    return checked


def find_entry_point(
    files: Mapping[str, str],
    wanted: str,
    *,
    field: str = "entry_point",
    where: str = "source_files",
) -> str:
    """Return the path of the entry point: the one named (a file or dotted module), or found."""
    if wanted:
        plain = wanted.removeprefix("./")  # as paths of files may be written
        module = plain.removesuffix(".py").replace(".", "/")
        for path in (plain, f"{module}.py", f"{module}/__init__.py"):
            if path in files:
                return path
        raise Invalid(
            f"The entry point {wanted!r} is not among the files: {_some(files)}.", field=field
        )
    for path in ENTRY_POINTS:
        if path in files:
            return path
    scripts = [path for path in files if path.endswith(".py") and "/" not in path]
    if len(scripts) == 1:
        return scripts[0]
    for path in NODE_ENTRY_POINTS:
        if path in files:
            return path
    raise Invalid(
        f"There is no entry point: name one in {field}, or call the file agent.py. "
        f"Files: {_some(files)}.",
        field=field if scripts else where,
    )


def holds_no_code(files: Mapping[str, str]) -> bool:
    """Whether nothing in the files could be meant to be run."""
    paths = map(PurePosixPath, files)
    return all(
        path.suffix in DOCUMENT_SUFFIXES or path.name in DOCUMENT_NAMES or path.name.startswith(".")
        for path in paths
    )


def check_syntax(
    files: Mapping[str, str], python: tuple[int, int], *, field: str = "source_files"
) -> None:
    """Refuse Python files that the base environment's Python could not compile."""
    for path, text in files.items():
        if not path.endswith(".py"):
            continue
        try:
            _compile(path, text.removeprefix("\ufeff"), python)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None) or 1
            column = getattr(error, "offset", None) or 1
            what = getattr(error, "msg", None) or str(error) or "too much to compile"
            raise Invalid(
                f"{path}, line {line}, column {column}: {what}.",
                field=f"{field}.{path}",
                file=path,
                line=line,
                column=column,
            ) from None


def _compile(path: str, text: str, python: tuple[int, int]) -> None:
    """Parse as the base's Python would, and compile: only that finds a stray `return`."""
    with warnings.catch_warnings(action="ignore"):
        tree = ast.parse(text, filename=path, feature_version=python)
        compile(tree, path, "exec", dont_inherit=True)


def _check_path(path: str, place: str) -> str:
    parts = PurePosixPath(path).parts
    problems = {
        "is empty": not path or not parts,
        f"is longer than {MAX_PATH_LENGTH} characters": len(path) > MAX_PATH_LENGTH,
        f"has a name of more than {MAX_NAME_BYTES} bytes": any(
            len(part.encode(errors="replace")) > MAX_NAME_BYTES for part in parts
        ),
        "is absolute": path.startswith("/"),
        "leaves the tree": ".." in parts,
        "has a backslash": "\\" in path,
        "has a control character": _CONTROL.search(path) is not None,
        "names a folder": path.endswith("/"),
    }
    for problem, true in problems.items():
        if true:
            raise Invalid(
                f"The path {path[:100]!r} {problem}; use a relative path such as src/agent.py.",
                field=place[:200],
            )
    _encoded(path, place)
    return str(PurePosixPath(path))


def _encoded(text: str, place: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Invalid(
            f"Not UTF-8 text: a lone surrogate at character {error.start}.", field=place[:200]
        ) from None


def _some(files: Mapping[str, str]) -> str:
    names = sorted(files)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
