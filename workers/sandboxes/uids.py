"""Host uids for sandboxes that root starts: one for each, so that none can touch another's.

A sandbox that runs as the host's root can write kernel settings whatever namespaces it is in, so
the uid is dropped before bubblewrap starts, and root itself is never handed out.
"""

import errno
import fcntl
import os
import re
import struct
from pathlib import Path
from typing import Self

from msgspec import Struct

from domain.errors import Invalid
from workers.sandboxes.driver import SandboxUnsupported

SETTING = "ARGOSY_SANDBOX_UIDS"
LOCKS = Path("/run/argosy-sandbox-uids")


class UidRange(Struct, frozen=True):
    """`first` to `last`, both included. `first` is the one that all builds share."""

    first: int
    last: int

    @classmethod
    def read(cls, text: str) -> Self:
        """From `first-last`. Raises Invalid for anything else, or a range with root in it."""
        match = re.fullmatch(r"(\d+)-(\d+)", text)
        uids = cls(*map(int, match.groups())) if match else None
        if uids is None or not 0 < uids.first < uids.last < 2**32 - 2:
            raise Invalid(
                f"{SETTING} is {text!r}; it must be two uids above 0, like 60578-61183.",
                field=SETTING,
            )
        return uids


# Above what systemd gives to containers; and, where so high uids are not mapped, a gap that its
# table of uids calls unused.
HIGH = UidRange(1_900_000_000, 1_900_065_535)
LOW = UidRange(60_578, 61_183)


def range_for(uid_map: str) -> UidRange:
    """The range to use when nothing is set, given this process's /proc/self/uid_map."""
    spans = [[int(word) for word in line.split()] for line in uid_map.splitlines()]
    high = any(inside <= HIGH.first and HIGH.last < inside + n for inside, _, n in spans)
    return HIGH if high else LOW


class Uids:
    """Hands out uids of a range, each to one sandbox at a time on the whole machine.

    A uid is taken by a lock on one byte of a file, which the kernel gives back if we die.
    """

    def __init__(self, uids: UidRange, locks: Path = LOCKS) -> None:
        self.range = uids
        self._file = os.open(locks, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self.taken: set[int] = set()
        self._next = uids.first + 1 + os.getpid() % (uids.last - uids.first)

    def take(self) -> int:
        """A uid nobody has. Raises SandboxUnsupported when the range is used up."""
        for _ in range(self.range.last - self.range.first):
            uid = self._next
            self._next = uid + 1 if uid < self.range.last else self.range.first + 1
            if uid not in self.taken and self._lock(uid, fcntl.F_WRLCK):
                self.taken.add(uid)
                return uid
        raise SandboxUnsupported(
            f"All uids of {self.range.first}-{self.range.last} are in use; set {SETTING} wider."
        )

    def give_back(self, uid: int) -> None:
        if uid in self.taken:
            self._lock(uid, fcntl.F_UNLCK)
            self.taken.discard(uid)

    def close(self) -> None:
        """Give everything back."""
        os.close(self._file)

    def _lock(self, uid: int, kind: int) -> bool:
        # struct flock: type, whence, start, length, pid (0 for locks that belong to the open file)
        request = struct.pack("hhqqi4x", kind, os.SEEK_SET, uid, 1, 0)
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, request)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True
