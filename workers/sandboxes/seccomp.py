"""The filter on system calls that every process of a sandbox lives under, as classic BPF.

It is the last wall, not the only one: namespaces, the uid and the empty capability sets already
refuse most of this. What it adds is a smaller kernel to attack, and `AF_VSOCK`, which no namespace
holds. It does not look at paths, and does not stop a program from exhausting what limits allow.
"""

import errno
import platform
import struct
from functools import cache

from msgspec import Struct

from workers.sandboxes.driver import SandboxUnsupported
from workers.sandboxes.syscalls import ARCHITECTURES, NEWEST, Architecture

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
ERRNO = 0x00050000

# offsets in struct seccomp_data; arguments are 64 bits wide, their low half first
NUMBER, AUDIT = 0, 4
ARGUMENTS = (16, 24, 32)

LOAD, MASK, RETURN = 0x20, 0x54, 0x06
EQUAL, GREATER, AT_LEAST, ANY_BIT = 0x15, 0x25, 0x35, 0x45

# Linux's numbers, written out because `socket` has those of the machine this is read on.
UNIX, INTERNET_4, INTERNET_6, NETLINK = 1, 2, 10, 16
STREAM, DATAGRAM = 1, 2
TCP, UDP = 6, 17

X32 = 0x40000000
NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID and NET
TYPE_BITS = 0xF  # what is above are SOCK_CLOEXEC and SOCK_NONBLOCK
NETLINK_ROUTE = 0  # how getaddrinfo and getifaddrs ask for addresses
INTERNET_PROTOCOLS = (0, TCP, UDP)
TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX

RETURNS = {
    "allow": ALLOW,
    "kill": KILL_PROCESS,
    "EPERM": ERRNO | errno.EPERM,
    "ENOSYS": ERRNO | errno.ENOSYS,
    # What a kernel without the protocol says, so that programs fall back (Go tries MPTCP first).
    "EPROTONOSUPPORT": ERRNO | errno.EPROTONOSUPPORT,
}


class Step(Struct, frozen=True):
    """One instruction, or with only `label` set a place to jump to. "" is the next instruction."""

    code: int = 0
    value: int = 0
    yes: str = ""
    no: str = ""
    label: str = ""


def filter_for(architecture: Architecture) -> bytes:
    """The program as the kernel takes it: an array of struct sock_filter."""
    return assemble([*_steps(architecture), *_endings()])


@cache
def filter_here() -> bytes:
    """The program for this machine. Raises SandboxUnsupported where there is no table for it."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise SandboxUnsupported(f"There is no system call filter for {machine}.")
    return filter_for(ARCHITECTURES[machine])


def assemble(steps: list[Step]) -> bytes:
    """Turn labels into the relative, forward, 8-bit jumps of classic BPF."""
    places: dict[str, int] = {}
    instructions: list[Step] = []
    for step in steps:
        if step.label:
            places[step.label] = len(instructions)
        else:
            instructions.append(step)

    def jump(label: str, here: int) -> int:
        return places[label] - here - 1 if label else 0

    return b"".join(
        struct.pack("<HBBI", step.code, jump(step.yes, here), jump(step.no, here), step.value)
        for here, step in enumerate(instructions)
    )


def _steps(machine: Architecture) -> list[Step]:
    return [
        Step(LOAD, AUDIT),
        Step(EQUAL, machine.audit, no="kill"),
        Step(LOAD, NUMBER),
        *([Step(AT_LEAST, X32, yes="kill")] if machine.x32 else []),
        Step(GREATER, NEWEST, yes="ENOSYS"),
        # Its flags are behind a pointer, which a filter cannot read; libc falls back to clone.
        Step(EQUAL, machine.clone3, yes="ENOSYS"),
        Step(EQUAL, machine.clone, yes="clone"),
        Step(EQUAL, machine.socket, yes="socket"),
        Step(EQUAL, machine.socketpair, yes="socketpair"),
        Step(EQUAL, machine.ioctl, yes="ioctl"),
        *[Step(EQUAL, number, yes="EPERM") for number in machine.refused],
        Step(RETURN, ALLOW),
        Step(label="clone"),
        Step(LOAD, ARGUMENTS[0]),
        Step(ANY_BIT, NEW_NAMESPACES, yes="EPERM", no="allow"),
        Step(label="socket"),
        Step(LOAD, ARGUMENTS[0]),
        Step(EQUAL, UNIX, yes="allow"),
        Step(EQUAL, INTERNET_4, yes="internet"),
        Step(EQUAL, INTERNET_6, yes="internet"),
        Step(EQUAL, NETLINK, yes="netlink", no="EPERM"),
        Step(label="netlink"),
        Step(LOAD, ARGUMENTS[2]),
        Step(EQUAL, NETLINK_ROUTE, yes="allow", no="EPERM"),
        Step(label="internet"),
        Step(LOAD, ARGUMENTS[1]),
        Step(MASK, TYPE_BITS),
        Step(EQUAL, STREAM, yes="protocol"),
        Step(EQUAL, DATAGRAM, yes="protocol", no="EPERM"),
        Step(label="protocol"),
        Step(LOAD, ARGUMENTS[2]),
        *[Step(EQUAL, protocol, yes="allow") for protocol in INTERNET_PROTOCOLS],
        Step(RETURN, RETURNS["EPROTONOSUPPORT"]),
        Step(label="socketpair"),
        Step(LOAD, ARGUMENTS[0]),
        Step(EQUAL, UNIX, yes="allow", no="EPERM"),
        Step(label="ioctl"),
        Step(LOAD, ARGUMENTS[1]),
        *[Step(EQUAL, request, yes="EPERM") for request in TERMINAL_INJECTION],
    ]


def _endings() -> list[Step]:
    endings: list[Step] = []
    for label, value in RETURNS.items():
        endings += [Step(label=label), Step(RETURN, value)]
    return endings
