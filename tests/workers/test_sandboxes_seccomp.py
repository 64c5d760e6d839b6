"""The system call filter, run by an interpreter of classic BPF for both architectures."""

import errno
import struct
from pathlib import Path

import pytest

from workers.sandboxes.seccomp import ALLOW, ERRNO, KILL_PROCESS, filter_for
from workers.sandboxes.syscalls import ARCHITECTURES, NEWEST, REFUSED

EPERM = ERRNO | errno.EPERM
ENOSYS = ERRNO | errno.ENOSYS
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
MOST_INSTRUCTIONS = 4096  # what the kernel takes

machines = pytest.mark.parametrize("name", ARCHITECTURES)


def verdict(name: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """What the kernel would do with one call."""
    machine = ARCHITECTURES[name]
    given = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, audit or machine.audit, 0, *given)
    program = list(struct.iter_unpack("<HBBI", filter_for(machine)))
    value, place = 0, 0
    while True:
        code, yes, no, operand = program[place]
        place += 1
        match code:
            case 0x20:
                value = struct.unpack_from("<I", data, operand)[0]
            case 0x54:
                value &= operand
            case 0x06:
                return operand
            case 0x15:
                place += yes if value == operand else no
            case 0x25:
                place += yes if value > operand else no
            case 0x35:
                place += yes if value >= operand else no
            case 0x45:
                place += yes if value & operand else no
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


@machines
def test_every_call_of_the_table_is_refused(name: str) -> None:
    column = list(ARCHITECTURES).index(name)
    numbers = [row[column] for row in REFUSED.values() if row[column] is not None]

    assert [n for n in numbers if n is not None and verdict(name, n) != EPERM] == []


@machines
def test_ordinary_calls_pass(name: str) -> None:
    column = list(ARCHITECTURES).index(name)
    refused = {row[column] for row in REFUSED.values()}
    machine = ARCHITECTURES[name]
    looked_into = {machine.clone, machine.clone3, machine.socket, machine.socketpair, machine.ioctl}

    for number in set(range(NEWEST + 1)) - refused - looked_into:
        assert verdict(name, number) == ALLOW


@machines
def test_calls_nobody_has_reviewed_do_not_exist(name: str) -> None:
    assert verdict(name, NEWEST + 1) == ENOSYS
    assert verdict(name, ARCHITECTURES[name].clone3) == ENOSYS


@machines
def test_another_architecture_is_killed(name: str) -> None:
    other = next(m.audit for n, m in ARCHITECTURES.items() if n != name)

    assert verdict(name, 0, audit=other) == KILL_PROCESS
    assert verdict(name, 0, audit=0x40000003) == KILL_PROCESS  # i386


def test_the_second_numbers_of_x86_64_are_killed() -> None:
    assert verdict("x86_64", 0x40000000) == KILL_PROCESS
    assert verdict("x86_64", 0x40000000 + 165) == KILL_PROCESS


@machines
def test_threads_and_processes_start_but_no_namespace(name: str) -> None:
    clone = ARCHITECTURES[name].clone

    assert verdict(name, clone, 0x3D0F00) == ALLOW  # what a thread of glibc asks for
    assert verdict(name, clone, 17) == ALLOW
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert verdict(name, clone, 1 << bit | 17) == EPERM


@machines
@pytest.mark.parametrize("high", [0, 0xFF << 32])
def test_sockets_are_judged_by_the_half_of_the_argument_the_kernel_uses(
    name: str, high: int
) -> None:
    call = ARCHITECTURES[name].socket
    plain = {(1, 1, 0), (2, 1, 6), (2, 0x80802, 17), (10, 1, 0), (16, 3, 0)}
    refused = {(40, 1, 0), (17, 3, 0), (2, 3, 1), (10, 10, 0), (16, 3, 9), (0, 1, 0), (38, 5, 0)}

    for family, kind, protocol in plain:
        assert verdict(name, call, family | high, kind | high, protocol | high) == ALLOW
    for family, kind, protocol in refused:
        assert verdict(name, call, family | high, kind | high, protocol | high) == EPERM
    assert verdict(name, call, 2, 1, 262) == ERRNO | errno.EPROTONOSUPPORT
    assert verdict(name, ARCHITECTURES[name].socketpair, 1 | high, 1) == ALLOW
    assert verdict(name, ARCHITECTURES[name].socketpair, 2 | high, 1) == EPERM


@machines
def test_a_terminal_is_not_typed_into(name: str) -> None:
    call = ARCHITECTURES[name].ioctl

    assert verdict(name, call, 0, 0x5412) == EPERM
    assert verdict(name, call, 0, 0x5412 | 1 << 40) == EPERM
    assert verdict(name, call, 0, 0x5413) == ALLOW


@machines
def test_the_program_is_one_the_kernel_takes(name: str) -> None:
    program = filter_for(ARCHITECTURES[name])

    assert len(program) % 8 == 0
    assert len(program) // 8 < MOST_INSTRUCTIONS


@machines
def test_the_numbers_are_the_kernels(name: str) -> None:
    """Against the headers, where they are installed."""
    if not HEADERS[name].exists():
        pytest.skip(f"{HEADERS[name]} is not here (linux-libc-dev)")
    known = {
        words[1].removeprefix("__NR3264_").removeprefix("__NR_"): int(words[2])
        for line in HEADERS[name].read_text().splitlines()
        if (words := line.split())[:1] == ["#define"]
        and words[1].startswith("__NR")
        and words[2].isdigit()
    }
    column = list(ARCHITECTURES).index(name)
    machine = ARCHITECTURES[name]

    assert {n: row[column] for n, row in REFUSED.items() if known.get(n) != row[column]} == {}
    for call in ("clone", "clone3", "socket", "socketpair", "ioctl"):
        assert getattr(machine, call) == known[call]
