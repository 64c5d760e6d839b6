"""Layers of images as nobody should make them: unpacked as the specification says, or refused."""

import gzip
import os
import stat
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.blobs import FolderBlobs
from adapters.scratch import remove_tree
from domain.execution import Image, digest_of
from tests.fuzzing.effort import examples
from tests.fuzzing.image_layers import MAX_BYTES, Model, Refused, Written, archive
from tests.fuzzing.mutations import mutated
from tests.fuzzing.test_archives import PIECES, mend
from workers.archives import LayerRefused
from workers.images.unpacking import ROOT, unpack_image
from workers.layers import LayerCache

NAMES = ("a", "b", "c", "ü", "d" * 120)
FIXED = ("etc/passwd", "etc/group", "etc/hosts")  # what is put into every image
NOWHERE = "/outside"
SPECIAL = (
    *("..", "../victim", "a/../../victim", "/", "./", "a//b", "/a/./b", "x" * 300),
    *(".wh..wh..opq", ".wh.", ".wh..", ".wh...", "a/.wh..wh..opq", "/".join("ab" * 30)),
)
KINDS = (
    *(tarfile.REGTYPE, tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE),
    *(tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"),
)

paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)


@st.composite
def names(draw: st.DrawFn) -> str:
    """A path, one in four of them hiding something, one in ten of them a trap."""
    chance = draw(st.integers(0, 19))
    if chance < 2:
        return draw(st.sampled_from(SPECIAL))
    path = draw(paths)
    if chance < 7:
        folder, slash, name = path.rpartition("/")
        return folder + slash + draw(st.sampled_from([f".wh.{name}", ".wh..wh..opq"]))
    return path


@st.composite
def targets(draw: st.DrawFn) -> str:
    """Where a link leads: up, out, to itself, or to what is there."""
    steps = draw(st.sampled_from(["", "/", "../", "../../../../", "./", f"{NOWHERE}/"]))
    return draw(
        st.one_of(paths.map(steps.__add__), st.sampled_from(["..", ".", "/", "", "a" * 5000]))
    )


@st.composite
def members(draw: st.DrawFn) -> Written:
    """Anything that an archive can have."""
    kind = draw(st.sampled_from(KINDS))
    is_link = kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)
    large = draw(st.sampled_from([0, 0, 0, 0, 511, 512, 70_000]))
    return Written(
        name=draw(names()),
        kind=kind,
        content=draw(st.binary(max_size=8)) + bytes(large) if kind == tarfile.REGTYPE else b"",
        target=draw(targets() if is_link else st.just("")),
        mode=draw(st.sampled_from([0o644, 0o755, 0o000, 0o4755, 0o7777, 0o100])),
        size=draw(st.sampled_from([None] * 30 + [-1, -512, -(1 << 40), 1 << 62])),
    )


layers = st.lists(st.lists(members(), max_size=12), min_size=1, max_size=4)


@given(layers)
@settings(max_examples=examples(150))
def test_layers_are_unpacked_as_the_specification_says(drawn: list[list[Written]]) -> None:
    model, refused = Model(), False
    try:
        for layer in drawn:
            model.apply(layer)
    except Refused:
        refused = True

    found = unpacked([archive(layer) for layer in drawn])

    assert found == (None if refused else model.seen())


@given(layers, st.data())
@settings(max_examples=examples(150))
def test_layers_that_were_tampered_with_harm_nobody(
    drawn: list[list[Written]], data: st.DataObject
) -> None:
    broken: list[bytes] = []
    for layer in drawn:
        packed = bytearray(data.draw(mutated(archive(layer), PIECES)))
        if data.draw(st.booleans()):
            mend(packed)
        whole = bytes(packed)
        if data.draw(st.booleans()):
            whole = gzip.compress(whole, 1, mtime=0)
            whole = data.draw(
                st.sampled_from([whole, whole[:-9], whole + b"garbage", b"\x28" + whole])
            )
        broken.append(whole)

    unpacked(broken)


def unpacked(packed: Sequence[bytes]) -> dict[str, tuple[str, object]] | None:
    """Unpack layers beside what must stay as it is; returns what there is, None if refused."""
    above = Path(tempfile.mkdtemp(prefix="argosy-unpacking-"))
    try:
        victim = above / "victim"
        victim.write_text("as it was")
        (above / "layers").mkdir()
        files = [above / "layers" / str(number) for number in range(len(packed))]
        for path, data in zip(files, packed, strict=True):
            path.write_bytes(data)
        tree = above / "tree"
        tree.mkdir()
        refused = False
        try:
            unpack_image(b"{}", files, tree, max_mb=MAX_BYTES >> 20)
        except LayerRefused:
            refused = True

        assert victim.read_text() == "as it was"
        assert sorted(each.name for each in above.iterdir()) == ["layers", "tree", "victim"]
        assert not os.path.lexists(NOWHERE)
        assert {each.name for each in tree.iterdir()} <= {ROOT, "config.json"}
        found = seen(tree / ROOT)
        return None if refused else found
    finally:
        remove_tree(above)


def seen(root: Path) -> dict[str, tuple[str, object]]:
    """Return all that was unpacked, without what is put into every image."""
    found: dict[str, tuple[str, object]] = {}
    for folder, inner, files in os.walk(root):
        for name in (*inner, *files):
            path = Path(folder, name)
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                what = "link", os.readlink(path)  # noqa: PTH115 - a Path would tidy it
            elif stat.S_ISDIR(status.st_mode):
                assert stat.S_IMODE(status.st_mode) == 0o755
                what = "folder", None
            else:
                assert stat.S_ISREG(status.st_mode)
                assert stat.S_IMODE(status.st_mode) in (0o644, 0o755)
                assert status.st_size <= MAX_BYTES
                what = "file", (path.read_bytes(), bool(status.st_mode & 0o100))
            found[str(path.relative_to(root))] = what
    for name in (*FIXED, "etc"):
        found.pop(name, None)
    return found


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    """Return a header alone."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


GOOD = archive([Written(name="a"), Written(name="b")])
DAMAGED = GOOD[:512] + b"x" + GOOD[513:]
SPARSE = bytearray(header("a", tarfile.GNUTYPE_SPARSE))
SPARSE[482] = 1  # more of it follows
mend(SPARSE)
GLOBAL = tarfile.TarInfo.create_pax_global_header({f"{n:0100}": "x" * 400_000 for n in range(2)})


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(header("a", b"Z", -512) + GOOD, id="going back for ever"),
        pytest.param(header(".wh.a", size=1 << 40), id="a terabyte that hides something"),
        pytest.param(header("a", b"Z", 1 << 40), id="a terabyte of something else"),
        pytest.param(header("x", tarfile.XHDTYPE) * 900 + GOOD, id="headers for headers"),
        pytest.param(GLOBAL + header("a") + GLOBAL.replace(b"000=", b"001=") * 2, id="large words"),
        pytest.param(bytes(SPARSE), id="a sparse file that is cut short"),
        pytest.param(bytes(SPARSE) + (bytes(504) + b"\1" + bytes(7)) * 4096, id="all of it sparse"),
        pytest.param(DAMAGED, id="a damaged header"),
        pytest.param(GOOD[:700], id="half a header"),
        pytest.param(archive([Written(name="/".join("a" * 600))]), id="too deep"),
        pytest.param(
            archive(
                [
                    Written(name="a/b"),
                    Written(name="a", kind=tarfile.LNKTYPE, target="a/b"),
                ]
            ),
            id="a link to what it takes away",
        ),
    ],
)
async def test_a_layer_that_is_refused_leaves_nothing(packed: bytes, tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    cache = LayerCache(tmp_path / "cache", blobs)
    digest = await blobs.put(gzip.compress(packed, 1))
    image = Image(manifest=digest_of(b""), config=await blobs.put(b"{}"), layers=[digest])

    with pytest.raises(LayerRefused):
        await cache.image(image)

    for folder in ("layers", "scratch"):
        assert list((tmp_path / "cache" / folder).iterdir()) == []
