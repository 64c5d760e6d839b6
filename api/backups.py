"""What operators do for the day after: `python -m api backup|restore|verify-backup FOLDER`."""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from adapters.backups.manifests import Manifest
from adapters.backups.restoring import restore
from adapters.backups.taking import take_backup
from adapters.backups.verifying import verify
from adapters.settings import Settings

SHOW_SECONDS = 1.0


async def back_up(settings: Settings, folder: Path, *, as_json: bool) -> None:
    """Write the log to a new folder, while everything goes on."""
    manifest = await take_backup(settings.log_url, folder, _progress())
    _report("backed up to", folder, manifest, as_json=as_json)
    if not as_json:
        _say("The master key and the blobs are not in it: docs/guides/back-up.md.")


async def bring_back(settings: Settings, folder: Path, *, as_json: bool) -> None:
    """Write a backup into the empty database of the settings."""
    manifest = await restore(settings.log_url, folder, _progress())
    _report("restored from", folder, manifest, as_json=as_json)


async def check(_settings: Settings, folder: Path, *, as_json: bool) -> None:
    """Read a backup as a restore would."""
    manifest = await asyncio.to_thread(verify, folder)
    _report("verified:", folder, manifest, as_json=as_json)


def _progress() -> Callable[[str, int], None]:
    """Return what shows progress on standard error, now and then."""
    last = time.monotonic()

    def show(table: str, rows: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SHOW_SECONDS:
            last = time.monotonic()
            sys.stderr.write(f"{table}: {rows} rows\n")

    return show


def _report(what: str, folder: Path, manifest: Manifest, *, as_json: bool) -> None:
    rows = manifest.rows()
    size = sum(file.bytes for file in manifest.files)
    if as_json:
        made = {
            "folder": str(folder),
            "taken_at": manifest.taken_at,
            "position": manifest.position,
            "database_schema": manifest.database_schema,
            "rows": rows,
            "bytes": size,
        }
        _say(msgspec.json.encode(made).decode())
        return
    _say(f"{what} {folder}")
    _say(f"  taken at {manifest.taken_at}, at position {manifest.position}, {size} bytes")
    _say("  " + ", ".join(f"{count} {name}" for name, count in rows.items()))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
