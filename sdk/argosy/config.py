"""Where the server is: the environment, else the dev server of this folder; and which workspace.

Only the standard library: the command line reads this before it knows whether it needs a client.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from argosy.errors import NotConfigured

DEV_FILE = "dev.json"
DATA_FOLDER = ".argosy"
DEFAULT_WORKSPACE = "default"

_NO_SERVER = (
    "No Argosy server is known. Start one here with `argosy dev`, "
    "or set ARGOSY_URL and ARGOSY_API_KEY."
)


@dataclass(frozen=True)
class Server:
    """A server and how to speak to it. `workspace` is empty when nothing chooses one."""

    url: str
    api_key: str = field(repr=False)
    workspace: str = ""
    origin: str = "ARGOSY_URL"


def find_server(environment: Mapping[str, str] | None = None, start: Path | None = None) -> Server:
    """Return the server to use. Raises NotConfigured saying what to set or start.

    ARGOSY_URL and ARGOSY_API_KEY win; else the running dev server of ARGOSY_DATA, of ./.argosy or
    of the nearest parent folder that has one. The workspace: ARGOSY_WORKSPACE, then the one chosen
    with `argosy workspace use` for this server, then the dev server's own.
    """
    source = os.environ if environment is None else environment
    url = source.get("ARGOSY_URL", "").rstrip("/")
    key = source.get("ARGOSY_API_KEY", "")
    if url:
        if not url.startswith(("http://", "https://")):
            raise NotConfigured(f"ARGOSY_URL must start with http:// or https://; it is {url!r}.")
        if not key:
            raise NotConfigured("ARGOSY_URL is set and ARGOSY_API_KEY is not; set both.")
        found = Server(url, key)
    else:
        dev = _dev_server(source, start or Path.cwd())
        found = Server(dev.url, key or dev.api_key, dev.workspace, dev.origin)
    chosen = source.get("ARGOSY_WORKSPACE", "") or stored_workspace(found.url, source)
    return Server(found.url, found.api_key, chosen or found.workspace, found.origin)


def stored_workspace(url: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the workspace that was chosen for the server at `url`, or an empty string."""
    chosen = _read(_settings_file(environment)).get("workspaces")
    return str(cast("dict[str, Any]", chosen).get(url, "")) if isinstance(chosen, dict) else ""


def store_workspace(url: str, workspace: str, environment: Mapping[str, str] | None = None) -> Path:
    """Remember the workspace for the server at `url`; returns the file, for its owner only."""
    file = _settings_file(environment)
    settings = _read(file)
    chosen = settings.get("workspaces")
    known = cast("dict[str, Any]", chosen) if isinstance(chosen, dict) else {}
    settings["workspaces"] = {**known, url: workspace}
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as written:
        json.dump(settings, written, indent=2)
        written.write("\n")
    fresh.replace(file)
    return file


def _settings_file(environment: Mapping[str, str] | None) -> Path:
    source = os.environ if environment is None else environment
    root = source.get("XDG_CONFIG_HOME", "")
    return (Path(root) if root else Path.home() / ".config") / "argosy" / "config.json"


def _dev_server(source: Mapping[str, str], start: Path) -> Server:
    stopped = ""
    for folder in _data_folders(source, start):
        file = folder / DEV_FILE
        if not _is_mine(file):
            continue
        found = _read(file)
        if not isinstance(found.get("url"), str) or not isinstance(found.get("api_key"), str):
            continue
        if _lives(found.get("pid")):
            return Server(
                found["url"].rstrip("/"),
                found["api_key"],
                str(found.get("workspace") or ""),
                str(file),
            )
        stopped = stopped or str(folder)
    if stopped:
        raise NotConfigured(
            f"The dev server of {stopped} is not running any more; start it with `argosy dev`."
        )
    raise NotConfigured(_NO_SERVER)


def _data_folders(source: Mapping[str, str], start: Path) -> Iterator[Path]:
    if source.get("ARGOSY_DATA"):
        yield Path(source["ARGOSY_DATA"])
    for folder in (start, *start.parents):
        yield folder / DATA_FOLDER


def _is_mine(file: Path) -> bool:
    """Whether it is there, and nobody else put it there to be found from below."""
    try:
        return file.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _lives(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
