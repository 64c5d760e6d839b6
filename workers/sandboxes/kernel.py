"""The few calls to Linux that Python has no function for."""

import ctypes
import os
import platform
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

PR_SET_CHILD_SUBREAPER = 36
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_NOSUID = 0x2
MS_NODEV = 0x4
PR_SET_PDEATHSIG = 1
PR_GET_PDEATHSIG = 2

# Numbers of setgroups, setresgid and setresuid. libc's functions of these names change all threads
# of the process; the kernel's own change the calling one.
CHANGE_IDENTITY = {"x86_64": (116, 119, 117), "aarch64": (159, 149, 147)}


@contextmanager
def acting_as(uid: int) -> Generator[None]:
    """Let the calling thread, which is root's, start processes as `uid` and its own group.

    The thread keeps root as its saved uid, to come back; a process it starts meanwhile has no way
    back and no capability, for exec sets the saved uid and clears the capabilities. This costs a
    hundredth of what a fork of a large process does, or a program that changes the uid in between.
    Do not await inside. Raises OSError.

    The kernel forgets at any change of uid that the thread wanted to die with its parent; it is
    told again.
    """
    parent, last_wish = os.getppid(), _parent_death_signal()
    set_groups, set_gids, set_uids = CHANGE_IDENTITY[platform.machine()]
    groups, gids, uids = os.getgroups(), os.getresgid(), os.getresuid()
    try:
        _call(set_groups, 0, None)
        _call(set_gids, uid, uid, gids[1])
        _call(set_uids, uid, uid, 0)
        yield
    finally:
        _call(set_uids, *uids)
        _call(set_gids, *gids)
        _call(set_groups, len(groups), (ctypes.c_uint32 * len(groups))(*groups))
        if last_wish:
            _check(_libc().prctl(PR_SET_PDEATHSIG, last_wish, 0, 0, 0), "prctl")
            if os.getppid() != parent:  # it died before the kernel was told
                os.kill(os.getpid(), last_wish)


def _parent_death_signal() -> int:
    number = ctypes.c_int()
    _check(_libc().prctl(PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0), "prctl")
    return number.value


def _call(number: int, *arguments: object) -> None:
    _check(_libc().syscall(ctypes.c_long(number), *arguments), f"system call {number}")


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans, so that it can reap them.

    Raises OSError.
    """
    _check(_libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2). Raises OSError."""
    values = (os.fsencode(source), os.fsencode(target), kind.encode())
    _check(_libc().mount(*values, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
