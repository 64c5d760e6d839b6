"""What every blob store promises (domain.ports.Blobs), in a folder and on a server of S3's kind."""

import asyncio
import hashlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from adapters.blob_limits import BlobLimit, BlobStoreFull
from adapters.blobs import BlobDamaged, BlobStore, FolderBlobs, bytes_in
from adapters.scratch import remove_tree, scratch_directory, scratch_file, sweep_scratch
from adapters.wiring import open_blobs
from domain.errors import NotFound
from domain.ports import Blobs
from tests.s3_server import Bucket, S3Server, s3_server
from tests.small_disks import on_a_small_disk

__all__ = ["s3_server"]

ABSENT = "sha256:" + "0" * 64


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Folder:
    """What is in a folder, seen and changed behind the store's back, as a `Bucket` is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> set[str]:
        files = (path for path in self.path.rglob("*") if path.is_file())
        return {str(path.relative_to(self.path)) for path in files}

    def write(self, name: str, data: bytes) -> None:
        (self.path / name).write_bytes(data)


@pytest.fixture(params=["folder", "s3"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def place(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Folder | Bucket:
    """Where blobs are files or objects."""
    if kind == "folder":
        return Folder(tmp_path / "blobs")
    server: S3Server = request.getfixturevalue("s3_server")
    return server.new_bucket()


@pytest.fixture
def store(place: Folder | Bucket, request: pytest.FixtureRequest) -> BlobStore:
    if isinstance(place, Folder):
        return FolderBlobs(place.path)
    server: S3Server = request.getfixturevalue("s3_server")
    return open_blobs(server.settings(place.name))


async def test_what_was_put_is_returned(store: Blobs) -> None:
    digest = await store.put(b"hello")

    assert digest == digest_of(b"hello")
    assert await store.get(digest) == b"hello"
    assert await store.size(digest) == 5


async def test_nothing_is_a_blob_too(store: Blobs) -> None:
    assert await store.get(await store.put(b"")) == b""


async def test_several_are_put_and_returned_in_order(store: Blobs) -> None:
    items = [b"a", b"b", b"a", b""]

    digests = await store.put_all(items)

    assert digests == [digest_of(item) for item in items]
    assert await store.get_all(digests) == items


async def test_putting_twice_keeps_one(store: Blobs, place: Folder | Bucket) -> None:
    first = await store.put(b"same")
    before = place.names()

    assert await store.put(b"same") == first
    assert place.names() == before


async def test_has_tells_the_stored_from_the_others(store: Blobs) -> None:
    stored = await store.put(b"stored")

    assert await store.has([stored, ABSENT, "nonsense", "sha256:../../etc/passwd"]) == {stored}


@pytest.mark.parametrize("digest", [ABSENT, "", "sha256:xyz", "sha256:../../etc/passwd", "md5:00"])
async def test_what_is_not_there_is_not_found(store: Blobs, digest: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await store.get(digest)
    with pytest.raises(NotFound):
        await store.size(digest)
    with pytest.raises(NotFound):
        await store.fetch(digest, tmp_path / "copy")
    with pytest.raises(NotFound):
        await anext(store.stream(digest))


async def test_large_files_pass_through(store: Blobs, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(os.urandom(3_500_000))

    digest = await store.put_file(source)
    await store.fetch(digest, copy)
    pieces = [piece async for piece in store.stream(digest)]

    assert digest == digest_of(source.read_bytes())
    assert copy.read_bytes() == source.read_bytes() == b"".join(pieces)
    assert max(map(len, pieces)) <= 1 << 20


async def test_a_part_is_read_alone(store: Blobs, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_500_000))
    digest = await store.put_file(source)

    async def part(start: int, stop: int) -> bytes:
        return b"".join([piece async for piece in store.part(digest, start, stop)])

    assert await part(0, 10) == source.read_bytes()[:10]
    assert await part(1_000_001, 3_500_000) == source.read_bytes()[1_000_001:]
    assert await part(5, 5) == b""
    with pytest.raises(NotFound):
        await anext(store.part(ABSENT, 0, 1))


async def test_a_file_is_never_put_through_a_link(store: Blobs, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")

    with pytest.raises(OSError, match="symbolic links"):
        await store.put_file(tmp_path / "link")


async def test_damage_is_noticed_and_mended_by_storing_again(
    store: Blobs, place: Folder | Bucket
) -> None:
    digest = await store.put(b"precious")
    (name,) = place.names()
    place.write(name, b"precioux")

    with pytest.raises(BlobDamaged):
        await store.get(digest)

    assert await store.put(b"precious") == digest
    assert await store.get(digest) == b"precious"


async def test_damage_is_noticed_while_streaming(store: Blobs, place: Folder | Bucket) -> None:
    digest = await store.put(b"precious")
    (name,) = place.names()
    place.write(name, b"precioux")

    with pytest.raises(BlobDamaged):
        _ = [piece async for piece in store.stream(digest)]


async def test_many_writers_of_one_blob_do_not_disturb_each_other(
    store: Blobs, place: Folder | Bucket
) -> None:
    data = os.urandom(200_000)

    digests = await asyncio.gather(*(store.put(data) for _ in range(20)))

    assert set(digests) == {digest_of(data)}
    assert await store.get(digests[0]) == data
    assert len(place.names()) == 1


def test_several_processes_write_the_same_blobs(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    script = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        from adapters.blobs import FolderBlobs
        store = FolderBlobs(Path(sys.argv[1]))
        print(asyncio.run(store.put_all([b"%d" % (n % 50) * 1000 for n in range(200)]))[-1])
    """)

    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    answers = {writer.communicate(timeout=60)[0] for writer in writers}

    assert all(writer.returncode == 0 for writer in writers)
    assert len(answers) == 1
    assert len(Folder(folder).names()) == 50


def test_a_full_disk_is_unavailable_and_leaves_nothing_partial() -> None:
    on_a_small_disk("""
        import asyncio, os, tempfile
        from pathlib import Path
        from adapters.blobs import FolderBlobs
        from domain.errors import Unavailable

        async def main(big):
            store = FolderBlobs(disk / "blobs")
            kept = await store.put(b"small")
            for attempt in (store.put(os.urandom(3 << 20)), store.put_file(big)):
                try:
                    await attempt
                except Unavailable as error:
                    assert "No space left" in str(error), error
                else:
                    raise AssertionError("it cannot fit")
            assert await store.get(kept) == b"small"
            files = [path for path in disk.rglob("*") if path.is_file()]
            assert len(files) == 1, files

        with tempfile.TemporaryDirectory() as other:
            big = Path(other, "big")
            big.write_bytes(os.urandom(3 << 20))
            asyncio.run(main(big))
    """)


@pytest.fixture
def abandoned(tmp_path: Path) -> Path:
    """The scratch folder of a writer that was killed in the middle of one file and one folder."""
    scratch = tmp_path / "blobs" / "scratch"
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from adapters.scratch import scratch_directory, scratch_file
        with scratch_file(Path(sys.argv[1])) as file, scratch_directory(Path(sys.argv[1])) as made:
            (made / "inside").write_bytes(b"half")
            file.write(b"half"); file.flush()
            print("ready", flush=True)
            time.sleep(60)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(scratch)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout
        writer.stdout.readline()
        assert sweep_scratch(scratch) == 0, "a living writer's must stay"
        writer.kill()
    return scratch


def test_what_a_killed_writer_left_is_swept(abandoned: Path) -> None:
    store = FolderBlobs(abandoned.parent)
    assert len(list(abandoned.iterdir())) == 2

    assert asyncio.run(store.sweep()) == 2
    assert list(abandoned.iterdir()) == []


def test_scratch_goes_on_leaving_and_stays_when_renamed(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    with scratch_file(scratch) as file, scratch_directory(scratch) as made:
        kept = tmp_path / "kept"
        Path(file.name).rename(kept)
        (made / "inside").mkdir()

    assert kept.exists()
    assert list(scratch.iterdir()) == []


def test_a_tree_without_permissions_is_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("stays")
    closed = tmp_path / "tree" / "a" / "b"
    closed.mkdir(parents=True)
    (closed / "file").write_text("goes")
    (closed / "link").symlink_to(precious)
    closed.chmod(0)
    closed.parent.chmod(0)

    remove_tree(tmp_path / "tree")
    remove_tree(tmp_path / "tree")

    assert not (tmp_path / "tree").exists()
    assert (precious / "file").read_text() == "stays"


async def test_no_more_is_stored_than_the_limit_lets_it(store: BlobStore) -> None:
    half = await store.put(b"a" * 600_000)
    store.limit = BlobLimit(1, lambda: bytes_in(store))

    with pytest.raises(BlobStoreFull, match="ARGOSY_BLOB_LIMIT_MB"):
        await store.put(b"b" * 600_000)

    assert await store.put(b"a" * 600_000) == half  # what is there costs nothing
    await store.put(b"c" * 400_000)
    with pytest.raises(BlobStoreFull):
        await store.put(b"d" * 100_000)
    await store.set_aside([half])
    await store.remove([half])
    store.limit = BlobLimit(1, lambda: bytes_in(store))
    await store.put(b"d" * 100_000)


async def test_a_file_beyond_the_limit_is_refused(
    store: BlobStore, place: Folder | Bucket, tmp_path: Path
) -> None:
    store.limit = BlobLimit(1, lambda: bytes_in(store))
    (tmp_path / "large").write_bytes(bytes(2 << 20))

    with pytest.raises(BlobStoreFull):
        await store.put_file(tmp_path / "large")

    assert place.names() == set()
