"""Reading an agent's source from disk, as it is sent: text files by their path in the folder."""

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from argosy.errors import UnreadableSource

if TYPE_CHECKING:
    from argosy.ignoring import Rules

REQUIREMENTS = "requirements.txt"
IGNORE_FILE = ".argosyignore"
VERSION_FILE = ".python-version"  # which the server chooses the interpreter by
MAX_FILES = 2_000
MAX_TOTAL_BYTES = 9_000_000


@dataclass(frozen=True)
class Source:
    """What is sent. `requirements` is the text of requirements.txt, which is not among `files`."""

    name: str
    files: dict[str, str]
    requirements: str = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(len(text.encode()) for text in self.files.values()) + len(
            self.requirements.encode()
        )


def read_source(place: Path) -> Source:
    """Return the source in a folder, or one file as a source of its own.

    Hidden files but .python-version, virtual environments, caches and what .gitignore and
    .argosyignore name are left out: patterns as git reads them, of which .argosyignore has the last
    word.
    Raises UnreadableSource for what is not UTF-8 text, leads out of the folder, or is too much.
    """
    if place.is_file():
        return Source(safe_name(place.stem), {place.name: _text(place, place.name)})
    from argosy.ignoring import Rules  # noqa: PLC0415 - slow to load, and only a deploy needs it

    if not place.is_dir():
        raise UnreadableSource(str(place), "there is no such file or folder.")
    root = place.resolve()
    try:
        files = _read_folder(root, Rules(root))
    except OSError as error:  # one that went away meanwhile among others
        shown = os.path.relpath(error.filename or root, root)
        raise UnreadableSource(shown, f"cannot be read: {error.strerror}.") from None
    requirements = files.pop(REQUIREMENTS, "")
    if not files:
        raise UnreadableSource(str(place), "there is no file to deploy.")
    return Source(safe_name(root.name), files, requirements)


def safe_name(text: str) -> str:
    """Return `text` as a deployment may be named (a DNS label); empty if nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:63].rstrip("-")


def _read_folder(root: Path, rules: "Rules") -> dict[str, str]:
    files: dict[str, str] = {}
    total = 0
    for path in _paths(root, root, rules):
        relative = path.relative_to(root).as_posix()
        if root not in path.resolve().parents:
            raise UnreadableSource(relative, "the link leads out of the folder; copy the file in.")
        total += path.stat().st_size
        if len(files) >= MAX_FILES or total > MAX_TOTAL_BYTES:
            raise UnreadableSource(
                str(root),
                f"more than {MAX_FILES} files or {MAX_TOTAL_BYTES // 1_000_000} MB; "
                f"name what the agent does not need in {IGNORE_FILE}.",
            )
        files[relative] = _text(path, relative)
    return files


def _paths(folder: Path, root: Path, rules: "Rules") -> Iterator[Path]:
    rules.enter(folder)
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if _is_hidden(path, root) or rules.leave_out(path, folder=entry.is_dir()):
            continue
        if entry.is_dir():
            if entry.is_symlink():
                raise UnreadableSource(
                    path.relative_to(root).as_posix(), "a link to a folder; copy the folder in."
                )
            if not (path / "pyvenv.cfg").exists():
                yield from _paths(path, root, rules)
        elif entry.is_file():
            yield path
        else:
            raise UnreadableSource(
                path.relative_to(root).as_posix(),
                f"not a file; remove it or name it in {IGNORE_FILE}.",
            )


def _is_hidden(path: Path, root: Path) -> bool:
    return path.name.startswith(".") and path != root / VERSION_FILE


def _text(path: Path, shown: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableSource(shown, f"cannot be read: {error.strerror}.") from None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UnreadableSource(shown, _binary(f"byte {error.start} is not UTF-8")) from None
    if "\0" in text:
        raise UnreadableSource(shown, _binary("it holds a zero byte"))
    return text


def _binary(why: str) -> str:
    return f"not a text file ({why}); only text can be deployed. Name it in {IGNORE_FILE}."
