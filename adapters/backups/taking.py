"""Taking a backup: the log's tables as of one moment, into a folder that is there whole or not."""

import asyncio
import gzip
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from adapters.backups.manifests import FORMAT, MANIFEST, File, Manifest, digest
from adapters.backups.snapshots import Fetch, open_snapshot
from adapters.backups.tables import KEPT, Kept, Row, key_of, page_text
from adapters.event_store.migrate import REVISION, VERSION_TABLE
from adapters.event_store.read import HEAD
from adapters.scratch import disk_work, scratch_directory, sweep_scratch, sync_folder
from domain.errors import Conflict, Unavailable

PAGE_ROWS = 1000
FILE_ROWS = 250_000
LEVEL = 3  # of compression: half the time of the usual 6, a few percent more bytes

type Say = Callable[[str, int], None]
"""Told, now and then, how many rows of which table are done."""

_WRITING = "Writing the backup"
_encode = msgspec.json.Encoder().encode_into


async def take_backup(url: str, folder: Path, say: Say = lambda _table, _rows: None) -> Manifest:
    """Write the log at `url` to `folder`, which must not exist. Others may append all the while.

    Raises Conflict where something is in the way, Unavailable where database or disk fail: then
    there is no folder. What a process that was killed left behind goes with the next backup.
    """
    scratch = folder.parent / f".{folder.name}.unfinished"
    try:
        with disk_work(_WRITING):
            _make_way(folder, scratch)
            with scratch_directory(scratch) as made:
                async with open_snapshot(url) as fetch:
                    manifest = await _write(fetch, made, say)
                _write_manifest(made, manifest)
                made.rename(folder)
                sync_folder(folder.parent)
    finally:
        with suppress(OSError):  # another backup to the same place is under way
            scratch.rmdir()
    return manifest


def _make_way(folder: Path, scratch: Path) -> None:
    if folder.exists():
        raise Conflict(f"{folder} is there already: a backup is never written over another.")
    sweep_scratch(scratch)


async def _write(fetch: Fetch, folder: Path, say: Say) -> Manifest:
    position = (await fetch(HEAD, ()))[0][0]
    [[revision]] = await fetch(f"SELECT version_num FROM {VERSION_TABLE}", ())  # noqa: S608
    if revision != REVISION:
        raise Unavailable(
            f"The log has schema {revision}, and this version of Argosy backs up {REVISION}: "
            "use the version that serves it."
        )
    files: list[File] = []
    for table in KEPT:
        files += await _write_table(fetch, table, folder, say)
    return Manifest(
        format=FORMAT,
        database_schema=revision,
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        position=position,
        columns={table.name: list(table.columns) for table in KEPT},
        files=files,
    )


async def _write_table(fetch: Fetch, table: Kept, folder: Path, say: Say) -> list[File]:
    """Write all rows, in files of some each."""
    files: list[File] = []
    rows = await fetch(page_text(table, PAGE_ROWS, first=True), ())
    following = page_text(table, PAGE_ROWS, first=False)
    done = 0
    while rows:
        name = f"{table.name}-{len(files) + 1:04}.jsonl.gz"
        count = 0
        with (folder / name).open("xb") as raw:
            with gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed:
                while rows and count < FILE_ROWS:
                    await asyncio.to_thread(packed.write, _lines(rows))
                    count += len(rows)
                    say(table.name, done + count)
                    rows = await fetch(following, key_of(table, rows[-1]))
            _sync(raw)
        done += count
        size, sha256 = await asyncio.to_thread(digest, folder / name)
        files.append(File(name=name, table=table.name, rows=count, bytes=size, sha256=sha256))
    return files


def _lines(rows: "list[Row] | Row") -> bytes:
    buffer = bytearray()
    for row in rows:
        _encode(tuple(row), buffer, -1)
        buffer += b"\n"
    return bytes(buffer)


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    with (folder / MANIFEST).open("xb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        _sync(file)
    sync_folder(folder)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
