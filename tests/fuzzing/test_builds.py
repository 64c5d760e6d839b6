"""What builds read of what packages left and asked for: libraries, requirements, the door."""

import asyncio
import os
import struct
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzzing.effort import examples
from tests.fuzzing.growth import holding_at_most
from tests.fuzzing.mutations import mutated
from workers.builder.door.requests import HEAD_BYTES, Refused, read_request
from workers.builder.oci.elf import MAX_ENTRIES, MAX_TEXT, find_library, read_needs
from workers.builder.requirements import MAX_LINES, Requirements, read_requirements

DYNAMIC, NEEDED, STRINGS, RUNPATH = 2, 1, 5, 29
NUMBERS = [struct.pack("<Q", number) for number in (0, 1, 64, 2**31, 2**63, 2**64 - 1)]


def library(needs: list[bytes], *, folders: bytes = b"$ORIGIN/../lib", times: int = 1) -> bytes:
    """Return an ELF file that needs these libraries, so many times over."""
    strings = b"\0".join((b"", folders, *needs, b""))
    entries = [(RUNPATH, 1), *((NEEDED, strings.index(b"\0%b\0" % name) + 1) for name in needs)]
    entries = [(STRINGS, 120 + 16 * (1 + times * len(entries))), *entries * times]
    table = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    head = struct.pack("<16xHHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", DYNAMIC, 0, 120, 120, 0, len(table), len(table), 8)
    return b"\x7fELF\x02\x01" + head[6:] + segment + table + strings


GOOD = library([b"libc.so.6", b"libz.so.1", b"libnone.so"])


def read(data: bytes, at_most: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.so")
        path.write_bytes(data)

        with holding_at_most(at_most):
            needs = read_needs(path)

    assert len(needs.libraries) <= MAX_ENTRIES
    for name in needs.libraries:
        assert len(os.fsencode(name)) <= MAX_TEXT
        find_library(name)


def test_a_library_is_read() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.so")
        path.write_bytes(GOOD)

        needs = read_needs(path)

    assert needs.libraries == ("libc.so.6", "libz.so.1", "libnone.so")
    assert needs.folders == (f"{folder}/../lib",)


@given(mutated(GOOD, [*NUMBERS, b"\0", b"/", b"\xff" * 20, b"a" * 5_000]))
@settings(max_examples=examples(300))
def test_a_tampered_library_is_read_or_taken_for_none(data: bytes) -> None:
    read(data, 8)


@pytest.mark.parametrize(
    "data",
    [
        library([b"a" * 300]),
        library([b"\xff" * 255]),
        library([b"a" * 500_000], times=20_000),
        library([b"%x" % number for number in range(3_000)], times=20),
    ],
    ids=["a long name", "no text", "a name as long as the file", "many names"],
)
def test_what_a_library_needs_is_not_more_than_that(data: bytes) -> None:
    read(data, 16)


PIECES = [
    *("(" * 400, ")", "; ", "python_version>'3'", " and ", " or ", "extra=='x'", "[a,b]", "@ "),
    *(
        ">=1",
        "==1.*",
        "~=2",
        "===",
        ",",
        "\\\n",
        "\n",
        "#",
        " --hash=sha256:00",
        "-r ",
        "\0",
        "\ufeff",
    ),
]


@given(st.lists(st.one_of(st.sampled_from(["httpx", *PIECES]), st.text(max_size=4)), max_size=40))
@settings(max_examples=examples(300))
def test_requirements_are_read_or_refused(parts: list[str]) -> None:
    found = read_requirements("".join(parts))

    if isinstance(found, Requirements):
        assert len(found.wanted) <= MAX_LINES
        assert all("\n" not in each.text for each in found.wanted)
    else:
        assert found.detail.startswith("requirements, line ")
        assert found.hint


ASKED = [
    b"CONNECT pypi.org:443 HTTP/1.1\r\nHost: pypi.org:443\r\n\r\n",
    (
        b"GET http://u:p@index.test:8080/simple/?a=b HTTP/1.1\r\nHost: x\r\n"
        b"Proxy-Authorization: Basic eA==\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n"
    ),
]
HEADS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b" ",
        b":",
        b"\0",
        b"@",
        b"[::1]",
        b"[",
        b":99999",
        b"%2f",
    ),
    *(b"http://", b"CONNECT ", b"HTTP/2.0", b"Connection: keep-alive\r\n", b"HOST:y\r\n", b"\xff"),
    *(
        b"Proxy-Connection: x\n",
        b" folded\r\n",
        b"x" * HEAD_BYTES,
        b"Transfer-Encoding: chunked\r\n",
    ),
]


@given(st.sampled_from(ASKED).flatmap(lambda good: mutated(good, HEADS)))
@settings(max_examples=examples(300))
def test_the_door_passes_one_request_on_or_refuses_it(sent: bytes) -> None:
    async def ask() -> None:
        reader = asyncio.StreamReader(limit=HEAD_BYTES)
        reader.feed_data(sent)
        reader.feed_eof()
        with suppress(Refused):
            asked = await read_request(reader)
            host, port = asked.place
            assert host == host.lower()
            assert not set(host) & set(" \t\r\n/@\0")
            assert 0 < port < 65_536
            if not asked.path:  # a tunnel
                return
            head = asked.head(asked.path)
            assert head.index(b"\r\n\r\n") == len(head) - 4
            lines = [line.partition(b":")[0].strip().lower() for line in head.splitlines()[1:]]
            assert lines.count(b"host") == lines.count(b"connection") == 1
            assert not any(line.startswith(b"proxy-") for line in lines)

    asyncio.run(ask())
