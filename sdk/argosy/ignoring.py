"""What of a folder is no source: caches, and what .gitignore and .argosyignore name."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from argosy.errors import UnreadableSource
from argosy.sources import IGNORE_FILE

GIT_IGNORE_FILE = ".gitignore"
GIT_FOLDER = ".git"
IGNORED = ("__pycache__", "*.pyc", "*.pyo", "venv", "node_modules", "*.egg-info")


class Rules:
    """Patterns, each below the folder whose file they are in: the last that matches decides.

    First come ours, then .gitignore from the repository's top down, and last .argosyignore of the
    folder that is deployed, which so may take back (`!generated.py`) what the others leave out.
    """

    def __init__(self, root: Path) -> None:
        """root: the folder that is deployed. Raises UnreadableSource for a file that is no text."""
        self._own = [(root, GitIgnoreSpec.from_lines(IGNORED))]
        # Whoever deploys a folder that the repository leaves out (`dist/agent`) means it.
        above = [(folder, spec) for folder in _above(root) for spec in _read(folder)]
        self._git = [] if _decides(above, root, folder=True) else above
        self._last = [(root, spec) for spec in _read(root, IGNORE_FILE)]

    def enter(self, folder: Path) -> None:
        """Take the patterns of a folder in, before what is in it is asked for."""
        self._git += [(folder, spec) for spec in _read(folder)]

    def leave_out(self, path: Path, *, folder: bool) -> bool:
        """Whether a file or folder is no source."""
        return bool(_decides([*self._own, *self._git, *self._last], path, folder=folder))


def _decides(
    rules: Iterable[tuple[Path, GitIgnoreSpec]], path: Path, *, folder: bool
) -> bool | None:
    decided: bool | None = None
    for below, spec in rules:
        if path.is_relative_to(below):
            name = path.relative_to(below).as_posix() + ("/" if folder else "")
            found = spec.check_file(name).include
            decided = decided if found is None else found
    return decided


def _above(root: Path) -> list[Path]:
    """Return the folders above it, from the repository's top on; none outside a repository."""
    if (root / GIT_FOLDER).exists():
        return []
    above: list[Path] = []
    for folder in root.parents:
        above.insert(0, folder)
        if (folder / GIT_FOLDER).exists():
            return above
    return []


def _read(folder: Path, name: str = GIT_IGNORE_FILE) -> Iterator[GitIgnoreSpec]:
    file = folder / name
    if not file.is_file():
        return
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableSource(name, f"cannot be read: {error}.") from None
    yield GitIgnoreSpec.from_lines(lines)
