"""Whether a backup is whole: its files, and that what is in them is a log."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from adapters.backups.manifests import File, Manifest, digest, read_manifest, unusable
from adapters.backups.tables import EVENTS, KEPT, Kept, unpacked
from adapters.event_store.migrate import REVISION
from domain.errors import Invalid
from domain.merkle import Frontier, entry_leaf

# These anchor all entries that come before them in their stream: nothing can be appended meanwhile.
ANCHORS = frozenset({"run.ended", "run.retried", "build.ended", "build.retried"})

_row = msgspec.json.Decoder(list[Any])


class _Anchor(Struct):
    entries: int = 0
    entries_root: str = ""


_anchor = msgspec.json.Decoder(_Anchor)


def verify(folder: Path) -> Manifest:
    """Return the manifest of a backup that can be restored. Raises Invalid, saying what is wrong.

    Files have their digests, tables their rows, the log positions 1 to its last without a gap, each
    stream its versions, and each transcript the Merkle root that its run or build was ended with.
    """
    manifest = read_manifest(folder)
    if manifest.database_schema > REVISION:
        raise Invalid(
            f"{folder} was made by a newer version of Argosy (schema {manifest.database_schema}); "
            f"this one knows {REVISION} at most.",
            field="backup",
        )
    for file in manifest.files:
        _check_file(folder, file)
    _check_log(folder, manifest)
    return manifest


def kept(manifest: Manifest, name: str) -> Kept:
    """Return a table as the backup has it: an older one may have fewer columns."""
    [table] = [each for each in KEPT if each.name == name]
    return msgspec.structs.replace(table, columns=tuple(manifest.columns[name]))


def rows_of(folder: Path, manifest: Manifest, table: Kept) -> Iterator[tuple[Any, ...]]:
    """Yield a table's rows. Raises Invalid at one that cannot be read."""
    for file in manifest.files:
        if file.table != table.name:
            continue
        count = 0
        try:
            with gzip.open(folder / file.name, "rb") as lines:
                for line in lines:
                    count += 1
                    yield unpacked(table, _row.decode(line))
        except (OSError, EOFError, zlib.error, ValueError, TypeError, msgspec.DecodeError) as error:
            raise unusable(folder, f"{file.name}, row {count}: {error}") from None
        if count != file.rows:
            raise unusable(folder, f"{file.name} has {count} rows instead of {file.rows}")


def _check_file(folder: Path, file: File) -> None:
    path = folder / file.name
    if path.parent != folder or file.table not in {each.name for each in KEPT}:
        raise unusable(folder, f"{file.name!r} is no file of a backup")
    try:
        found = digest(path)
    except OSError as error:
        raise unusable(folder, f"{file.name} cannot be read: {error.strerror}") from None
    if found != (file.bytes, file.sha256):
        raise unusable(folder, f"{file.name} is not what was written")


def _check_log(folder: Path, manifest: Manifest) -> None:
    """Check events against each other, and against the heads of their streams."""
    events = kept(manifest, EVENTS.name)
    place = {name: events.columns.index(name) for name in events.columns}
    seen = bytearray(manifest.position + 1)
    heads: dict[str, tuple[int, int]] = {}
    stream, version, folding, frontier = "", 0, 0, Frontier()
    for row in rows_of(folder, manifest, events):
        if row[place["stream"]] != stream:
            stream, version, folding, frontier = row[place["stream"]], 0, 0, Frontier()
        version += 1
        if row[place["version"]] != version:
            raise unusable(folder, f"{stream} lacks version {version}")
        position, type_, data = row[place["position"]], row[place["type"]], row[place["data"]]
        if position is None:
            frontier = frontier.add(entry_leaf(version, type_, data))
        elif not 1 <= position <= manifest.position or seen[position]:
            raise unusable(folder, f"position {position} is there twice, or beyond the end")
        else:
            seen[position] = 1
            folding += 1
            if type_ in ANCHORS:
                _check_anchor(folder, stream, frontier, data)
        heads[stream] = (version, folding)
    if sum(seen) != manifest.position:
        raise unusable(folder, f"position {seen.index(0, 1)} is missing")
    streams = kept(manifest, "streams")
    for name, *head in (row[:3] for row in rows_of(folder, manifest, streams)):
        if heads.pop(name, (0, 0)) != tuple(head):
            raise unusable(folder, f"{name} does not end where it should")
    if heads:
        raise unusable(folder, f"{next(iter(heads))} has events, and no head")


def _check_anchor(folder: Path, stream: str, frontier: Frontier, data: bytes) -> None:
    anchor = _anchor.decode(data)
    if anchor.entries_root and (anchor.entries, anchor.entries_root) != (
        frontier.count,
        frontier.root(),
    ):
        raise unusable(folder, f"the transcript of {stream} is not the one that was ended")
