"""The data directory of one dev server: who holds it, its keys, and what clients find in it.

Everything in it is for its owner only: the directory is 0700, and what has a key in it is 0600.
"""

import fcntl
import json
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from msgspec.structs import replace

from adapters.settings import Settings
from domain.errors import Conflict, Unavailable

LOCK = "dev.lock"
KEY = "dev.key"
MASTER_KEY = "master.key"
FOUND = "dev.json"
MACHINE = "machine"
# A unix socket's path may have 107 bytes; a temporary name may be longer than the final one.
LONGEST_SOCKET_PATH = 95


def of_dev_server(settings: Settings) -> Settings:
    """Return the settings that `argosy dev` gives its processes in this data directory."""
    data = settings.data.absolute()
    return replace(
        settings,
        data=data / MACHINE,
        database=settings.log_url,
        blobs=settings.blobs or str(settings.blob_directory),
        redis=f"unix://{data / 'run' / 'redis.sock'}",
        limit_scope="process",
    )


class DataDirectory:
    """Held by this process until `release`, or until it dies.

    Raises Conflict if another supervisor holds it, Unavailable if it cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.chmod(0o700)
            self._lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(
                f"The data directory {path} cannot be used: {error.strerror}. "
                "Name another with --data-dir."
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(self._whose()) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        self._outside: Path | None = None
        (path / FOUND).unlink(missing_ok=True)

    @property
    def logs(self) -> Path:
        """Where each process's log is."""
        logs = self.path / "logs"
        logs.mkdir(exist_ok=True, mode=0o700)
        return logs

    @property
    def machine(self) -> Path:
        """The workers' own data, such as layers: what sandboxes mount, and nothing beside it.

        A worker that root starts shows it to its sandboxes' uids, so it is readable for all; the
        directory around it keeps everybody else out.
        """
        machine = self.path / MACHINE
        machine.mkdir(exist_ok=True)
        machine.chmod(0o755)
        return machine

    def socket(self, name: str) -> Path:
        """Return a path for a unix socket: below the directory, or somewhere with a short name."""
        inside = self.path / "run"
        if len(os.fsencode(inside / name)) <= LONGEST_SOCKET_PATH:
            inside.mkdir(exist_ok=True, mode=0o700)
            return inside / name
        if self._outside is None:
            root = os.environ.get("XDG_RUNTIME_DIR") or None
            short = root if root and len(root) < 64 and os.access(root, os.W_OK) else "/tmp"  # noqa: S108
            self._outside = Path(tempfile.mkdtemp(prefix="argosy-", dir=short))
        return self._outside / name

    def key(self) -> str:
        """Return ARGOSY_DEV_API_KEY, or the key that is kept here, made the first time."""
        if given := os.environ.get("ARGOSY_DEV_API_KEY"):
            return given
        file = self.path / KEY
        if file.exists():
            return file.read_text().strip()
        key = f"argosy_{secrets.token_urlsafe(32)}"
        _write(file, key + "\n")
        return key

    @property
    def master_key(self) -> Path:
        """Where the vault's master key is, once `make_master_key` was called."""
        return self.path / MASTER_KEY

    def make_master_key(self) -> None:
        """Make it. To be called where there is none: what was sealed under another is lost."""
        _write(self.master_key, secrets.token_hex(32) + "\n")

    def announce(self, url: str, api_key: str, workspace: str) -> None:
        """Let clients find the server."""
        found = {"url": url, "api_key": api_key, "workspace": workspace, "pid": os.getpid()}
        _write(self.path / FOUND, json.dumps(found) + "\n")

    def release(self) -> None:
        """Leave nothing behind that says a server runs here."""
        (self.path / FOUND).unlink(missing_ok=True)
        shutil.rmtree(self.path / "run", ignore_errors=True)
        if self._outside is not None:
            shutil.rmtree(self._outside, ignore_errors=True)
        os.close(self._lock)

    def _whose(self) -> str:
        holder = (self.path / LOCK).read_text().strip() or "?"
        try:
            where = f" at {json.loads((self.path / FOUND).read_text())['url']}"
        except (OSError, ValueError, KeyError):
            where = ""
        return (
            f"argosy dev already runs on {self.path}{where} (process {holder}). "
            "Stop that one, or name another directory with --data-dir."
        )


def _write(file: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all, and to the disk."""
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as written:
        written.write(text)
        written.flush()
        os.fsync(written.fileno())
    fresh.replace(file)
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
