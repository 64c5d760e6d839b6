"""Names for sandboxes that say which process owns them, so that orphans can be told apart.

A name is `argosy-<pid namespace>-<pid>-<start time>-<id>`: pids are used again, start times (in
clock ticks since boot) are not; and a pid means nothing in another pid namespace.
"""

import os
import re
import secrets
from pathlib import Path
from typing import Self

from msgspec import Struct

NAME = re.compile(r"argosy-(\d+)-(\d+)-(\d+)-[0-9a-f]+")


class Owner(Struct, frozen=True):
    """A process of this machine."""

    namespace: int
    pid: int
    started: int

    @classmethod
    def current(cls) -> Self:
        pid = os.getpid()
        return cls(_pid_namespace(), pid, _start_time(pid))

    @classmethod
    def of(cls, name: str) -> Self | None:
        """The owner a sandbox's name speaks of; None if it is not such a name."""
        match = NAME.fullmatch(name)
        return cls(*map(int, match.groups())) if match else None

    def name_sandbox(self) -> str:
        """A new name, unlike any other."""
        return f"argosy-{self.namespace}-{self.pid}-{self.started}-{secrets.token_hex(8)}"

    def is_dead(self) -> bool:
        """True only if it certainly is: never for a process of another pid namespace."""
        if self.namespace != _pid_namespace():
            return False
        try:
            return _start_time(self.pid) != self.started
        except (FileNotFoundError, ProcessLookupError):
            return True


def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _start_time(pid: int) -> int:
    # The second field is the command's name in parentheses, which may itself hold anything.
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    if fields[0] in (b"Z", b"X"):
        raise ProcessLookupError(pid)
    return int(fields[19])
