"""The page that makes a folder a backup: what is in it, and the digest of each file."""

import hashlib
from pathlib import Path

import msgspec
from msgspec import Struct

from domain.errors import Invalid

MANIFEST = "manifest.json"
# Raised when an older version of the code could not restore what is written now.
FORMAT = 1
CHUNK_BYTES = 1 << 20


class File(Struct, frozen=True, kw_only=True):
    """Some rows of a table, as JSON lines in gzip."""

    name: str
    table: str
    rows: int
    bytes: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """database_schema: the revision that the rows have. position: the log's last."""

    format: int
    database_schema: str
    taken_at: str
    position: int
    columns: dict[str, list[str]]
    files: list[File]

    def rows(self) -> dict[str, int]:
        """Return how many rows each table has."""
        counts = dict.fromkeys(self.columns, 0)
        for file in self.files:
            counts[file.table] += file.rows
        return counts


class _Format(Struct):
    format: int


def read_manifest(folder: Path) -> Manifest:
    """Return a backup's manifest. Raises Invalid where there is none that this version can read."""
    try:
        data = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise unusable(folder, f"{MANIFEST} cannot be read: {error.strerror}") from None
    try:
        known = msgspec.json.decode(data, type=_Format)
        if known.format > FORMAT:
            raise Invalid(
                f"{folder} was made by a newer version of Argosy (format {known.format}); this one "
                f"knows {FORMAT} at most.",
                field="backup",
            )
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise unusable(folder, f"{MANIFEST} is damaged: {error}") from None


def digest(path: Path) -> tuple[int, str]:
    """Return a file's size and SHA-256. Raises OSError."""
    hasher, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
            size += len(chunk)
    return size, hasher.hexdigest()


def unusable(folder: Path, why: str) -> Invalid:
    """Return the refusal of a folder that is no backup, or not any more."""
    return Invalid(f"{folder} is not a backup that can be used: {why}.", field="backup")
