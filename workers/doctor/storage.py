"""What is kept on this machine's disks: the data directory, the log's file, and the blob store."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from adapters.event_store.migrate import SQLITE, sqlite_path
from adapters.settings import Settings
from adapters.wiring import open_blobs
from domain.errors import Invalid, Unavailable
from workers.doctor.findings import Finding, broken, doubtful, good

LITTLE_MB = 2048
TOO_LITTLE_MB = 256
FEW_INODES = 50_000
TOO_FEW_INODES = 5_000

# Where SQLite's locks and shared memory cannot be relied on.
_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "fuse.sshfs", "fuse.s3fs")
_FLEETING = ("tmpfs", "ramfs")


def look_at_disks(settings: Settings) -> Iterator[Finding]:
    """Yield findings for each disk that is used, and whether the data directory can be written."""
    yield _writable(settings.data.absolute())
    places = {"data": settings.data.absolute()}
    if not settings.blobs_in_s3:
        places["blobs"] = settings.blob_directory.absolute()
    if settings.log_url.startswith(SQLITE):
        places["log"] = sqlite_path(settings.log_url).parent.absolute()
    seen: set[int] = set()
    for path in map(nearest, places.values()):
        device = path.stat().st_dev
        if device not in seen:
            seen.add(device)
            yield _space(path)
            yield _inodes(path)


async def look_at_blobs(settings: Settings) -> Finding:
    """Write, read and remove something where blobs are written."""
    if settings.blobs_in_s3:
        return await _look_at_bucket(settings)
    directory = settings.blob_directory.absolute()
    advice = f"Let this user write to {directory}, or set ARGOSY_BLOBS to where it may."
    if not directory.exists() and os.access(nearest(directory), os.W_OK):
        return good("blobs", f"{directory} will be made")
    try:
        await open_blobs(settings).check()
    except Unavailable as error:
        return broken("blobs", error.detail, advice)
    return good("blobs", f"{directory} can be written and read")


async def _look_at_bucket(settings: Settings) -> Finding:
    name = f"{settings.blobs}, {settings.s3_endpoint or 'Amazon'}"
    try:
        await open_blobs(settings).check()
    except (Unavailable, Invalid) as error:
        advice = "Correct ARGOSY_BLOBS and ARGOSY_S3_…; the bucket must exist, and let them write."
        return broken("blobs", f"{name}: {error.detail}", advice)
    return good("blobs", f"{name}: can be written and read")


def look_at_file_system(path: Path) -> Finding | None:
    """Return what speaks against keeping a SQLite log below `path`, if anything does."""
    kind = file_system(path)
    if kind in _REMOTE:
        advice = "SQLite needs a local disk; use PostgreSQL (ARGOSY_DATABASE) or move it."
        return broken("database", f"{path} is on {kind}, where SQLite's locks do not hold", advice)
    if kind in _FLEETING:
        advice = "Move the data directory to a disk."
        return doubtful("database", f"{path} is on {kind}: it is lost with the machine", advice)
    return None


def file_system(path: Path) -> str:
    """Return the kind of the file system that holds `path`, such as `ext4`."""
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, found, *_ = line.split()
        place = where.encode().decode("unicode_escape")
        if path.is_relative_to(place) and len(place) >= len(best):
            best, kind = place, found
    return kind


def nearest(path: Path) -> Path:
    """Return `path`, or the directory above it that is there already."""
    return next(each for each in (path, *path.parents) if each.is_dir())


def _writable(data: Path) -> Finding:
    if not data.exists() and not os.access(nearest(data), os.W_OK):
        detail = f"{data} is not there, and this user may not make it"
        return broken("data", detail, "Make it, and give it to this user; or set ARGOSY_DATA.")
    if not data.exists():
        return good("data", f"{data} will be made")
    probe = data / f".doctor-{secrets.token_hex(8)}"
    try:
        with probe.open("xb") as file:
            os.fsync(file.fileno())
        probe.unlink()
    except OSError as error:
        advice = "Give it to this user, or set ARGOSY_DATA to another."
        return broken("data", f"{data} cannot be written: {error.strerror}", advice)
    return good("data", f"{data} can be written")


def _space(path: Path) -> Finding:
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize >> 20
    detail = f"{free:,} MiB free at {path}"
    advice = "Make room: appends are refused, and runs lose their files, when it is full."
    if free < TOO_LITTLE_MB:
        return broken("disk", detail, advice)
    return doubtful("disk", detail, advice) if free < LITTLE_MB else good("disk", detail)


def _inodes(path: Path) -> Finding:
    found = os.statvfs(path)
    if not found.f_files:  # btrfs and the like make them as they go
        return good("inodes", f"unlimited at {path}")
    detail = f"{found.f_favail:,} inodes free at {path}"
    advice = "Layers are many small files: remove what is not needed, or use another disk."
    if found.f_favail < TOO_FEW_INODES:
        return broken("inodes", detail, advice)
    return (
        doubtful("inodes", detail, advice)
        if found.f_favail < FEW_INODES
        else good("inodes", detail)
    )
