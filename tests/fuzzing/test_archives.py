"""Archives of layers, tampered with: unpacked or refused, and nothing but files below the tree."""

import gzip
import io
import os
import stat
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzzing.effort import examples
from tests.fuzzing.mutations import mutated
from workers.archives import LayerRefused, pack, unpack

PIECES = [
    *(b"../", b"/", b"..", b"\0" * 12, b"0000000\0", b"7777777\0", b"\x80" + b"\xff" * 11),
    *(b"1", b"2", b"3", b"5", b"6", b"K", b"L", b"S", b"x", b"g", b"ustar\x0000", b"a" * 300),
    *(b"30 GNU.sparse.map=a,b,c\n", b"22 GNU.sparse.major=1\n", b"11 size=-1\n", b"9 path=\n"),
    *(b"19 linkpath=../../x\n", b"15 mtime=1e999\n", b"99999999999 path=x\n", b"\n", b"=", b" "),
]


def good() -> bytes:
    """Return the tar of a small tree, some of its names long and not ASCII."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        (tree / "deps" / ("d" * 120)).mkdir(parents=True)
        (tree / "deps" / ("d" * 120) / "ü.py").write_text("x = 1\n" * 100)
        (tree / "tool").write_bytes(os.urandom(10))
        packed = io.BytesIO()
        pack(tree, packed)
    return gzip.decompress(packed.getvalue())


GOOD = good()


@given(st.data())
@settings(max_examples=examples(150))
def test_a_tampered_archive_is_unpacked_or_refused(data: st.DataObject) -> None:
    broken = bytearray(data.draw(mutated(GOOD, PIECES)))
    if data.draw(st.booleans()):
        mend(broken)
    packed = gzip.compress(bytes(broken), 1)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "above", "tree")
        tree.mkdir(parents=True)
        with suppress(LayerRefused):
            unpack(io.BytesIO(packed), tree, max_mb=1)

        assert [each.name for each in Path(folder).iterdir()] == ["above"]
        assert [each.name for each in tree.parent.iterdir()] == ["tree"]
        for path in tree.rglob("*"):
            mode = path.lstat().st_mode
            assert stat.S_ISREG(mode) or stat.S_ISDIR(mode)


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"GNU.sparse.map": "a,b"}, "x"),
        ({"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, "x"),
        ({}, "x" * 300),
        ({}, "/".join(["d" * 200] * 30)),
    ],
    ids=["sparse map", "sparse file", "long name", "long path"],
)
def test_what_cannot_be_written_here_is_refused(
    headers: dict[str, str], name: str, tmp_path: Path
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w|gz", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.pax_headers = headers
        member.size = 2
        archive.addfile(member, io.BytesIO(b"ab"))
    packed.seek(0)

    with pytest.raises(LayerRefused):
        unpack(packed, tmp_path)


def mend(archive: bytearray) -> None:
    """Give each block that looks like a header the checksum that it should have."""
    for start in range(0, len(archive) - 511, 512):
        block = archive[start : start + 512]
        if bytes(block[257:262]) == b"ustar":
            block[148:156] = b" " * 8
            archive[start + 148 : start + 156] = b"%06o\0 " % sum(block)
