"""The layer cache: whole or not at all, the same on every machine, and closed to what leaves it."""

import asyncio
import gzip
import io
import os
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.blobs import FolderBlobs
from domain.errors import Invalid, NotFound
from domain.execution import source_digest
from tests.small_disks import on_a_small_disk
from workers.archives import LayerRefused, pack, unpack
from workers.layers import LayerCache


def content_of(tree: Path) -> dict[str, tuple[str, bytes]]:
    return {
        path.relative_to(tree).as_posix(): (
            oct(path.stat().st_mode & 0o7777),
            path.read_bytes() if path.is_file() else b"",
        )
        for path in tree.rglob("*")
    }


def a_tree(tree: Path) -> Path:
    (tree / "package" / "inner").mkdir(parents=True)
    (tree / "package" / "module.py").write_text("x = 1\n")
    (tree / "package" / "inner" / "nothing").touch()
    (tree / "bin").mkdir(mode=0o700)
    (tree / "bin" / "tool").write_text("#!/bin/sh\n")
    (tree / "bin" / "tool").chmod(0o4750)
    return tree


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


@pytest.fixture
def layers(tmp_path: Path, blobs: FolderBlobs) -> LayerCache:
    return LayerCache(tmp_path / "here", blobs)


@pytest.fixture
def tree(layers: LayerCache) -> Path:
    return a_tree(layers.directory / "tree")


def nothing_half_made(layers: LayerCache) -> bool:
    return list((layers.directory / "scratch").iterdir()) == []


async def test_a_source_layer_has_its_files_for_everybody(
    layers: LayerCache, blobs: FolderBlobs
) -> None:
    files = {
        "agent.py": await blobs.put(b"print(1)\n"),
        "a/b/notes.txt": await blobs.put("ä".encode()),
    }

    before = os.umask(0o077)
    try:
        layer = await layers.source(files)
    finally:
        os.umask(before)

    assert layer.name == source_digest(files).replace(":", "-")
    assert oct(layer.stat().st_mode & 0o777) == "0o755"
    assert content_of(layer) == {
        "agent.py": ("0o644", b"print(1)\n"),
        "a": ("0o755", b""),
        "a/b": ("0o755", b""),
        "a/b/notes.txt": ("0o644", "ä".encode()),
    }
    assert nothing_half_made(layers)


async def test_a_layer_that_is_there_is_not_made_again(
    layers: LayerCache, blobs: FolderBlobs, tmp_path: Path
) -> None:
    files = {"agent.py": await blobs.put(b"")}
    first = await layers.source(files)
    number = first.stat().st_ino

    assert await layers.source(files) == first
    assert await LayerCache(layers.directory, FolderBlobs(tmp_path / "none")).source(files) == first
    assert first.stat().st_ino == number


async def test_a_source_whose_blob_is_missing_is_refused(layers: LayerCache) -> None:
    files = {"agent.py": "sha256:" + "0" * 64}

    with pytest.raises(NotFound):
        await layers.source(files)
    assert nothing_half_made(layers)


@pytest.mark.parametrize("path", ["/etc/passwd", "../out", "a/../../out", ""])
async def test_files_stay_in_their_layer(layers: LayerCache, path: str) -> None:
    with pytest.raises(Invalid):
        await layers.runtime({path: b""})
    assert nothing_half_made(layers)
    assert not (layers.directory / "out").exists()


async def test_a_runtime_layer_is_named_by_what_is_in_it(layers: LayerCache) -> None:
    first = await layers.runtime({"shim.py": b"1"})
    second = await layers.runtime({"shim.py": b"2"})

    assert first != second
    assert (first / "shim.py").read_bytes() == b"1"
    assert await layers.runtime({"shim.py": b"1"}) == first


async def test_a_kept_tree_is_the_same_layer_on_another_machine(
    layers: LayerCache, tree: Path, blobs: FolderBlobs, tmp_path: Path
) -> None:
    elsewhere = LayerCache(tmp_path / "elsewhere", blobs)

    digest, contents = await layers.keep(tree)
    here, there = await layers.dependencies(digest), await elsewhere.dependencies(digest)

    assert contents.files == 3
    assert content_of(here) == content_of(there)
    assert content_of(here)["bin/tool"] == ("0o755", b"#!/bin/sh\n")
    assert content_of(here)["bin"] == ("0o755", b"")
    assert nothing_half_made(layers)
    assert nothing_half_made(elsewhere)


async def test_equal_trees_are_one_layer(layers: LayerCache, tree: Path) -> None:
    other = a_tree(layers.directory / "other")
    os.utime(other / "package" / "module.py", (1, 1))
    (other / "package").chmod(0o700)

    assert (await layers.keep(tree))[0] == (await layers.keep(other))[0]


KEYS = ("1" * 64, "2" * 64)


async def two_parts(layers: LayerCache) -> None:
    """Keep a part with a package, and one with more of it and a tool of another."""
    await layers.keep_part(KEYS[0], a_tree(layers.directory / "tree"))
    other = layers.directory / "other"
    (other / "package" / "inner").mkdir(parents=True)
    (other / "package" / "inner" / "more.py").write_text("y = 2\n")
    (other / "tool").write_text("x" * 10)
    await layers.keep_part(KEYS[1], other)


async def test_a_layer_is_put_together_from_parts(
    layers: LayerCache, blobs: FolderBlobs, tmp_path: Path
) -> None:
    elsewhere = LayerCache(tmp_path / "elsewhere", blobs)
    await two_parts(layers)

    digest, contents = await layers.put_together(KEYS)
    again, _ = await layers.put_together(KEYS)
    here, there = await layers.dependencies(digest), await elsewhere.dependencies(digest)

    assert again == digest
    assert contents.files == 5
    assert content_of(here) == content_of(there)
    assert content_of(here)["package/inner/more.py"] == ("0o644", b"y = 2\n")
    assert content_of(here)["bin/tool"] == ("0o755", b"#!/bin/sh\n")
    assert (here / "tool").stat().st_nlink == 2  # the disk has it once
    assert nothing_half_made(layers)
    assert nothing_half_made(elsewhere)


async def test_parts_are_the_same_on_every_machine(layers: LayerCache, tmp_path: Path) -> None:
    elsewhere = LayerCache(tmp_path / "elsewhere", FolderBlobs(tmp_path / "others"))
    await two_parts(layers)
    await two_parts(elsewhere)

    assert (await layers.put_together(KEYS))[0] == (await elsewhere.put_together(KEYS))[0]


async def test_parts_that_have_the_same_file_are_no_layer(layers: LayerCache) -> None:
    await layers.keep_part(KEYS[0], a_tree(layers.directory / "tree"))
    await layers.keep_part(KEYS[1], a_tree(layers.directory / "other"))

    with pytest.raises(LayerRefused, match="Two packages have files at"):
        await layers.put_together(KEYS)
    assert nothing_half_made(layers)


async def test_parts_have_a_size_together(layers: LayerCache) -> None:
    for key in KEYS:
        tree = layers.directory / "tree"
        tree.mkdir()
        (tree / key).write_bytes(bytes(600_000))
        await layers.keep_part(key, tree, max_mb=1)

    with pytest.raises(LayerRefused, match="more than 1 MB"):
        await layers.put_together(KEYS, max_mb=1)
    assert nothing_half_made(layers)


async def test_a_part_that_is_not_here_is_missed(layers: LayerCache) -> None:
    await layers.keep_part(KEYS[0], a_tree(layers.directory / "tree"))

    assert layers.has_part(KEYS[0])
    assert not layers.has_part(KEYS[1])
    with pytest.raises(NotFound):
        await layers.put_together(KEYS)
    assert nothing_half_made(layers)


def a_link(tree: Path) -> None:
    (tree / "link").symlink_to("package")


def a_link_out(tree: Path) -> None:
    (tree / "link").symlink_to("/etc/passwd")


def a_shared_file(tree: Path) -> None:
    (tree / "shared").hardlink_to(tree / "package" / "module.py")


def a_pipe(tree: Path) -> None:
    os.mkfifo(tree / "pipe")


def a_name_that_is_no_text(tree: Path) -> None:
    Path(os.fsdecode(os.fsencode(tree) + b"/\xff")).touch()


def too_much(tree: Path) -> None:
    os.truncate(tree / "bin" / "tool", (2 << 20) + 1)


@pytest.mark.parametrize(
    "spoil", [a_link, a_link_out, a_shared_file, a_pipe, a_name_that_is_no_text, too_much]
)
async def test_a_tree_that_may_not_be_a_layer_is_refused(
    layers: LayerCache, tree: Path, blobs: FolderBlobs, spoil: Callable[[Path], None]
) -> None:
    spoil(tree)

    with pytest.raises(LayerRefused):
        await layers.keep(tree, max_mb=2)
    assert list((layers.directory / "layers").iterdir()) == []
    assert nothing_half_made(layers)


def an_archive(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    raw.seek(0)
    return raw


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o6777
    return info


@pytest.mark.parametrize(
    "archive",
    [
        an_archive((member("../out"), b"")),
        an_archive((member("/tmp/out"), b"")),
        an_archive((member("a", tarfile.SYMTYPE, "/etc"), b"")),
        an_archive((member("a", tarfile.SYMTYPE, ".."), b""), (member("a/out"), b"")),
        an_archive((member("a"), b""), (member("b", tarfile.LNKTYPE, "a"), b"")),
        an_archive((member("null", tarfile.CHRTYPE), b"")),
        an_archive((member("twice"), b"1"), (member("twice"), b"2")),
        an_archive((member("file"), b""), (member("file/inner"), b"")),
        an_archive((member("bomb"), bytes(3 << 20))),
        io.BytesIO(b"no archive at all"),
        io.BytesIO(gzip.compress(b"x" * 5000)),
        io.BytesIO(an_archive((member("cut"), os.urandom(9000))).getvalue()[:4000]),
    ],
)
def test_an_archive_that_was_tampered_with_is_refused(archive: io.BytesIO, tmp_path: Path) -> None:
    archive.seek(0)
    tree = tmp_path / "tree"
    tree.mkdir()

    with pytest.raises(LayerRefused):
        unpack(archive, tree, max_mb=2)
    assert not (tmp_path / "out").exists()


def test_an_archive_brings_no_special_modes(tmp_path: Path) -> None:
    unpack(an_archive((member("tool"), b"")), tmp_path)

    assert oct((tmp_path / "tool").stat().st_mode & 0o7777) == "0o755"


def test_packing_is_repeatable(tmp_path: Path) -> None:
    first, second = io.BytesIO(), io.BytesIO()

    pack(a_tree(tmp_path / "tree"), first)
    pack(tmp_path / "tree", second)

    assert first.getvalue() == second.getvalue()


async def test_many_makers_at_once_make_one_layer(
    layers: LayerCache, blobs: FolderBlobs, tree: Path, tmp_path: Path
) -> None:
    digest, _ = await layers.keep(tree)
    caches = [LayerCache(tmp_path / "elsewhere", blobs) for _ in range(4)]

    made = await asyncio.gather(*(cache.dependencies(digest) for cache in caches * 4))

    assert len(set(made)) == 1
    assert content_of(made[0]) == content_of(await layers.dependencies(digest))
    assert nothing_half_made(caches[0])


def test_a_killed_maker_leaves_no_broken_layer(tmp_path: Path) -> None:
    """The layer's last file is a pipe's, so that the maker is caught in the middle for sure."""
    script = textwrap.dedent("""
        import asyncio, sys, time
        from pathlib import Path
        from adapters.blobs import FolderBlobs
        from workers.layers import LayerCache

        class Slow(bytes):
            def __buffer__(self, flags):
                print("half", flush=True)
                time.sleep(60)

        layers = LayerCache(Path(sys.argv[1]), FolderBlobs(Path(sys.argv[1]) / "blobs"))
        data = {"a.py": b"whole", "b.py": Slow(b"never")}
        layers._make(lambda tree: [(tree / name).write_bytes(data[name]) for name in data],
                     layers._layers / "sha256-half")
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE
    ) as maker:
        assert maker.stdout
        assert maker.stdout.readline() == b"half\n"
        maker.kill()
    layers = LayerCache(tmp_path, FolderBlobs(tmp_path / "blobs"))

    assert list((tmp_path / "layers").iterdir()) == []
    assert asyncio.run(layers.sweep()) == 1
    assert nothing_half_made(layers)


async def test_layers_of_an_earlier_boot_are_made_again(
    layers: LayerCache, blobs: FolderBlobs
) -> None:
    files = {"agent.py": await blobs.put(b"whole")}
    (await layers.source(files) / "agent.py").write_bytes(b"")  # torn by a crash of the machine
    (layers.directory / "boot").write_text("another boot\n")

    again = LayerCache(layers.directory, blobs)

    assert (await again.source(files) / "agent.py").read_bytes() == b"whole"
    assert await again.sweep() == 1


def test_a_full_disk_is_unavailable_and_leaves_no_broken_layer() -> None:
    on_a_small_disk("""
        import asyncio, os
        from pathlib import Path
        from adapters.blobs import FolderBlobs
        from domain.errors import Unavailable
        from workers.layers import LayerCache

        async def main():
            layers = LayerCache(disk / "cache", FolderBlobs(disk / "blobs"))
            tree = disk / "cache" / "tree"
            tree.mkdir()
            (tree / "big").write_bytes(os.urandom(1200 << 10))
            for attempt in (layers.runtime({"a": b"1", "b": bytes(3 << 20)}), layers.keep(tree)):
                try:
                    await attempt
                except Unavailable as error:
                    assert "No space left" in str(error), error
                else:
                    raise AssertionError("it cannot fit")
            assert list((disk / "cache" / "layers").iterdir()) == []
            assert list((disk / "cache" / "scratch").iterdir()) == []
            assert (await layers.runtime({"a": b"1"})).is_dir()

        asyncio.run(main())
    """)
