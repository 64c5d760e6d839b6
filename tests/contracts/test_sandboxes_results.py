"""Contract of `Sandbox.collect`: whatever a program left, only its own plain files come out."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.sandboxes import BACKENDS, PATIENCE, Machine, machine, outcome, reachable, spec
from workers.sandboxes.driver import LeftOut, Mount, ResultFile, Results, SandboxUnsupported
from workers.sandboxes.results import MAX_DEPTH, MAX_ENTRIES, MAX_LEFT_OUT

SECRET = "argosy-test-secret-90cd"


@pytest.fixture(params=BACKENDS)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    with machine(request.param) as found:
        yield found


async def left_by(here: Machine, code: str, into: Path, **limits: int) -> Results:
    """Run a program to its end, and collect only then."""
    into.mkdir()  # noqa: ASYNC240
    async with here.driver.open(spec()) as sandbox:
        done = await outcome(sandbox.run(here.python("import os\n" + code)))
        assert done.exit.code == 0, done
        return await sandbox.collect(into, **limits)


def copied(into: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()
    }


async def test_files_come_out_after_the_program_ended(here: Machine, tmp_path: Path) -> None:
    code = """
os.makedirs("reports/empty")
open("answer.txt", "w").write("42")
open("reports/größe.bin", "wb").write(bytes(3 << 20))
open("run.sh", "w").write("#!/bin/sh")
os.chmod("run.sh", 0o755)
"""
    results = await left_by(here, code, tmp_path / "out")

    assert results == Results(
        (
            ResultFile("answer.txt", 2),
            ResultFile("reports/größe.bin", 3 << 20),
            ResultFile("run.sh", 9, executable=True),
        )
    )
    found = copied(tmp_path / "out")
    assert found["answer.txt"] == b"42"
    assert found["reports/größe.bin"] == bytes(3 << 20)
    assert all(not path.stat().st_mode & 0o077 for path in (tmp_path / "out").rglob("*.txt"))


async def test_files_come_out_of_a_sandbox_that_was_killed_or_still_runs(
    here: Machine, tmp_path: Path
) -> None:
    code = "open('f', 'w').write('here'); print('up', flush=True); import time; time.sleep(600)"
    for name in ("running", "killed"):
        (tmp_path / name).mkdir()
    async with here.driver.open(spec()) as sandbox:
        await anext(sandbox.run(here.python(code)))
        running = await sandbox.collect(tmp_path / "running")
        await sandbox.kill()
        killed = await sandbox.collect(tmp_path / "killed")

    assert running == killed == Results((ResultFile("f", 4),))


async def test_links_lead_nowhere(here: Machine, tmp_path: Path) -> None:
    """Symbolic ones are left out, wherever they point; hard ones cannot leave the directory."""
    (tmp_path / "private").write_text(SECRET)
    code = f"""
os.symlink({str(tmp_path / "private")!r}, "absolute")
os.symlink("../../../../../..{tmp_path}/private", "relative")
os.symlink({str(tmp_path)!r}, "directory")
os.symlink("loop", "loop")
open("own", "w").write("own")
os.symlink("own", "inside")
os.link("own", "twin")
for outside in ("/etc/passwd", "/usr/bin/env"):
    try:
        os.link(outside, "stolen")
    except OSError as error:
        assert error.errno in (1, 13, 18), error
    else:
        raise AssertionError
"""
    results = await left_by(here, code, tmp_path / "out")

    assert copied(tmp_path / "out") == {"own": b"own", "twin": b"own"}
    assert {entry.path for entry in results.left_out} == {
        "absolute", "directory", "inside", "loop", "relative",
    }  # fmt: skip
    assert not results.complete


async def test_a_directory_that_becomes_a_link_during_the_walk_is_not_followed(
    here: Machine, tmp_path: Path
) -> None:
    """The program keeps exchanging a directory and a link to the host's files."""
    (tmp_path / "host").mkdir()
    (tmp_path / "host/file").write_text(SECRET)
    code = f"""
import ctypes, os
os.mkdir("a"); open("a/file", "w").write("own")
os.symlink({str(tmp_path / "host")!r}, "b")
exchange = ctypes.CDLL(None).renameat2
print("up", flush=True)
while True:
    exchange(-100, b"a", -100, b"b", 2)
"""
    async with here.driver.open(spec()) as sandbox:
        await anext(sandbox.run(here.python(code)))
        for number in range(60):
            into = tmp_path / f"out-{number}"
            into.mkdir()
            await sandbox.collect(into)
            assert set(copied(into).values()) <= {b"own"}


async def test_what_is_no_file_is_left_out_without_waiting_for_it(
    here: Machine, tmp_path: Path
) -> None:
    code = """
import socket
os.mkfifo("pipe")
socket.socket(socket.AF_UNIX).bind("socket")
open("locked", "w").write("x"); os.chmod("locked", 0)
open("file", "w").write("x")
"""
    async with asyncio.timeout(5 * PATIENCE):
        results = await left_by(here, code, tmp_path / "out")

    names = {entry.path for entry in results.left_out}
    assert names - {"locked"} == {"pipe", "socket"}
    assert set(copied(tmp_path / "out")) == {"file", "locked"} - names


async def test_names_that_would_confuse_are_left_out(here: Machine, tmp_path: Path) -> None:
    code = r"""
for name in (b"new\nline", b"not-utf8-\xff", b"escape-\x1b[2J", "right-\u202eleft".encode(), b"...",
             b"C:", b"-rf", b"back\\slash", b" "):
    open(name, "w").close()
"""
    results = await left_by(here, code, tmp_path / "out")

    assert {file.path for file in results.files} == {"...", "C:", "-rf", "back\\slash", " "}
    assert [entry.path for entry in results.left_out if not entry.path.isascii()] == [
        "right-\u202eleft"
    ]


async def test_number_and_size_are_capped(here: Machine, tmp_path: Path) -> None:
    code = """
for number in range(30):
    open(f"{number:02}", "wb").write(bytes(1000))
"""
    few = await left_by(here, code, tmp_path / "few", max_files=10)
    small = await left_by(here, code, tmp_path / "small", max_bytes=5500)

    assert [file.path for file in few.files] == [f"{number:02}" for number in range(10)]
    assert few.left_out[0] == LeftOut("10", "there are too many files")
    assert len(small.files) == 5
    assert sum(map(len, copied(tmp_path / "small").values())) == 5000


async def test_a_sparse_giant_is_too_large_though_it_takes_no_space(
    here: Machine, tmp_path: Path
) -> None:
    code = """
os.truncate(os.open("giant", os.O_CREAT | os.O_WRONLY), 1 << 50)
open("small", "w").write("x")
"""
    results = await left_by(here, code, tmp_path / "out")

    assert copied(tmp_path / "out") == {"small": b"x"}
    assert [entry.path for entry in results.left_out] == ["giant"]


async def test_a_file_that_grows_meanwhile_ends_where_it_was(here: Machine, tmp_path: Path) -> None:
    code = """
file = open("log", "ab", buffering=0)
file.write(bytes(4096))
print("up", flush=True)
while True:
    try:
        file.write(bytes(4096))
    except OSError:
        os.truncate("log", 0)
"""
    async with here.driver.open(spec()) as sandbox:
        await anext(sandbox.run(here.python("import os\n" + code)))
        for number in range(20):
            into = tmp_path / str(number)
            into.mkdir()
            results = await sandbox.collect(into, max_bytes=1 << 30)
            sizes = {path: len(content) for path, content in copied(into).items()}
            assert sizes == {file.path: file.size for file in results.files}


async def test_a_maze_is_left_at_its_edge(here: Machine, tmp_path: Path) -> None:
    deep = f"""
for _ in range({MAX_DEPTH + 3}):
    os.mkdir("d"); os.chdir("d")
open("treasure", "w").close()
"""
    wide = f"""
for number in range({MAX_ENTRIES} + 5):
    os.mkdir(f"{{number}}")
"""
    depths = await left_by(here, deep, tmp_path / "deep")
    widths = await left_by(here, wide, tmp_path / "wide")

    assert depths.files == ()
    assert len(depths.left_out) == 1
    assert (widths.files, widths.complete) == ((), False)


async def test_not_more_is_named_than_a_reader_can_use(here: Machine, tmp_path: Path) -> None:
    code = "for number in range(500): os.symlink('x', str(number))"
    results = await left_by(here, code, tmp_path / "out")

    assert len(results.left_out) == MAX_LEFT_OUT
    assert not results.complete


async def test_a_working_directory_below_a_link_is_refused_or_inside(
    here: Machine, tmp_path: Path
) -> None:
    """A layer's link must not make the worker read the host's directory of that name."""
    layer = reachable(tmp_path) / "layer"
    layer.mkdir()
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o755)
    (victim / "file").write_text(SECRET)
    (layer / "way").symlink_to(victim)
    asked = spec(
        layers=(*here.base.layers, Mount(str(layer), "/layer")), working_directory="/layer/way"
    )
    into = tmp_path / "out"
    into.mkdir()
    try:
        async with here.driver.open(asked) as sandbox:
            await outcome(sandbox.run(here.python("")))
            await sandbox.collect(into)
    except SandboxUnsupported:
        pass

    assert copied(into) == {}
    assert [path.name for path in victim.iterdir()] == ["file"]
