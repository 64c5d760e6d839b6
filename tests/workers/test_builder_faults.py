"""Builds that race, are killed, cancelled, too slow or too large: nothing is left broken."""

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from domain.builds import BuildPlanned
from domain.entries import BuildLogged
from domain.errors import Fenced
from domain.execution import SourceDefinition
from domain.limits import Limits
from tests.conftest import require
from tests.small_disks import on_a_small_disk
from tests.workers.builds import LIMITS, REQUEST, Builder, local, the_driver
from tests.workers.packages import HoldingIndex, Index, make_wheel, serve
from workers.builder.builder import run_build
from workers.builder.quotas import Quota
from workers.sandboxes.driver import Exit, Mount, Spec

SECONDS = 30
WHEEL = "good-1.0-py3-none-any.whl"

CHILD = """
import asyncio, sys
from pathlib import Path
from tests.workers.builds import Builder, Index, local, the_driver

index = Index(Path(sys.argv[1]) / "index")
index.url = sys.argv[2]
builder = Builder(Path(sys.argv[1]), the_driver(), local(index))
print(asyncio.run(builder.build("good")).how, flush=True)
"""


@pytest.fixture
def index(directory: Path) -> Iterator[HoldingIndex]:
    make_wheel(directory / "index", "good", "1.0")
    holding = HoldingIndex(directory / "index")
    with serve(holding):
        try:
            yield holding
        finally:
            holding.let_go.set()


@pytest.fixture
def builder(directory: Path, index: HoldingIndex) -> Builder:
    return Builder(directory, the_driver(), local(index))


def start_child(directory: Path, index: Index) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(directory), index.url], stdout=subprocess.PIPE
    )


def below_us() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


async def test_of_two_builders_of_one_layer_one_installs(builder: Builder, directory: Path) -> None:
    other = Builder(directory, the_driver(), builder.tools.index)

    first, second = await asyncio.gather(builder.build("good"), other.build("good"))

    assert first.how == second.how == "succeeded"
    assert first.artifact == second.artifact
    assert (builder.text + other.text).count("install:  + good==1.0") == 1
    assert builder.leftovers() == []


def test_builders_in_several_processes_agree(directory: Path, index: HoldingIndex) -> None:
    children = [start_child(directory, index) for _ in range(3)]

    ends = [child.communicate(timeout=SECONDS)[0] for child in children]

    assert ends == [b"succeeded\n"] * 3
    layers = list((directory / "cache" / "layers").iterdir())
    assert sorted((layer / "part").exists() for layer in layers) == [False, True]
    assert list((directory / "cache" / "scratch").iterdir()) == []
    assert len([path for path in index.asked if path == f"/files/{WHEEL}"]) <= 2  # GET, HEAD


@pytest.mark.parametrize("held", ["good", WHEEL])
def test_a_killed_builder_leaves_nothing_that_harms(
    directory: Path, index: HoldingIndex, held: str
) -> None:
    """It is killed while it resolves, and while it installs."""
    index.held = held
    child = start_child(directory, index)
    try:
        assert index.reached.wait(SECONDS)
        inside = psutil.Process(child.pid).children(recursive=True)
        assert inside
    finally:
        child.kill()
        child.communicate()
    _, alive = psutil.wait_procs(inside, timeout=5)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert list((directory / "cache" / "layers").iterdir()) == []
    index.held = ""
    index.let_go.set()

    again = Builder(directory, the_driver(), local(index))
    end = asyncio.run(again.build("good"))
    asyncio.run(again.layers.sweep())

    assert end.how == "succeeded"
    assert again.leftovers() == []


async def test_a_cancelled_build_leaves_nothing(builder: Builder, index: HoldingIndex) -> None:
    index.held = WHEEL
    before = below_us()
    building = asyncio.create_task(builder.build("good"))
    assert await asyncio.to_thread(index.reached.wait, SECONDS)

    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building

    assert builder.leftovers() == []
    assert below_us() == before
    index.let_go.set()
    assert (await builder.build("good")).how == "succeeded"


async def test_a_build_that_takes_too_long_says_where(directory: Path, index: HoldingIndex) -> None:
    limits = Limits(memory_mb=1_024, pids=256, seconds=1)
    slow = Builder(directory, the_driver(), local(index), limits=limits)
    index.held = "good"

    end = await slow.build("good")

    assert (end.how, end.step) == ("failed", "resolve")
    assert "longer than the 1 s" in end.detail
    assert slow.leftovers() == []


async def test_a_build_without_enough_memory_says_so(directory: Path, index: HoldingIndex) -> None:
    driver = the_driver()
    if driver.scope != "sandbox":
        require("cgroups", "only they can tell")
    limits = Limits(memory_mb=32, pids=256, seconds=60)
    small = Builder(directory, driver, local(index), limits=limits)
    make_wheel(index.folder, "large", "1.0", {"large.py": "x = 1\n" * 400_000})

    end = await small.build("large")

    assert (end.how, end.step) in {("failed", "resolve"), ("failed", "install")}
    assert "32 MB of memory" in end.detail


async def test_a_layer_that_is_too_large_is_refused(directory: Path, index: HoldingIndex) -> None:
    make_wheel(index.folder, "large", "1.0", {"large.txt": "x" * (3 << 20)})
    limits = Limits(memory_mb=1_024, pids=256, disk_mb=2, seconds=60)
    small = Builder(directory, the_driver(), local(index), limits=limits)

    end = await small.build("large")

    assert (end.how, end.step) == ("failed", "install")
    assert "2 MB" in end.detail
    assert small.leftovers() == []


async def test_a_program_that_fills_the_disk_is_killed(builder: Builder, directory: Path) -> None:
    tools = builder.tools
    out = directory / "out"
    out.mkdir()
    spec = Spec(
        layers=tools.python.layers,
        symlinks=tools.python.symlinks,
        files=tools.python.files,
        limits=LIMITS,
        scope=tools.driver.scope,
        writable=(Mount(str(out), "/out"),),
    )
    code = "import time; open('/out/x', 'wb').write(bytes(3 << 20)); time.sleep(60)"
    quota = Quota(out, directory, max_mb=2)

    async with tools.driver.open(spec) as sandbox, asyncio.timeout(SECONDS):
        watching = asyncio.create_task(quota.watch(sandbox))
        ends = [item async for item in sandbox.run([tools.python.python, "-I", "-c", code])]
        await watching

    assert ends == [item for item in ends if isinstance(item, Exit) and item.code != 0]
    assert "2 MB" in quota.reached


def test_a_full_disk_fails_the_build_and_leaves_nothing_broken() -> None:
    if os.geteuid() != 0:
        require("root", "only root can give a sandbox a disk of its own")
    on_a_small_disk("""
        import asyncio, tempfile
        from tests.workers.builds import Builder, the_driver
        from tests.workers.packages import make_wheel
        from workers.builder.indexes import find_index

        async def main(wheels):
            make_wheel(wheels, "large", "1.0", {"large.txt": "x" * (3 << 20)})
            builder = Builder(disk, the_driver(), find_index(str(wheels), {}))
            end = await builder.build("large")
            assert end.how == "failed" and end.step in ("resolve", "install"), end
            assert "No space left" in end.detail or "disk left" in end.detail, end
            assert list((disk / "cache" / "layers").iterdir()) == []
            assert builder.leftovers() == []

        with tempfile.TemporaryDirectory() as other:
            wheels = Path(other, "wheels")
            wheels.mkdir()
            Path(other).chmod(0o755)
            asyncio.run(main(wheels))
    """)


async def test_what_the_callers_callbacks_raise_reaches_the_caller(builder: Builder) -> None:
    """A fenced builder stops; it does not call the build failed."""
    source = await builder.blobs.put(b"")
    definition = SourceDefinition(
        files={"agent.py": source}, entry_point="agent.py", requirements="good"
    )

    async def log(_: BuildLogged) -> None: ...

    async def fenced(_: BuildPlanned) -> None:
        raise Fenced("Another worker has it.")

    with pytest.raises(Fenced):
        await run_build(
            REQUEST, definition, attempt=1, tools=builder.tools, log=log, planned=fenced
        )


def test_root_may_keep_everything_below_a_closed_home(tmp_path: Path, index: HoldingIndex) -> None:
    """pytest's own directory is closed to others, as a home is; uv is installed there as well."""
    if os.geteuid() != 0:
        require("root", "an ordinary user's sandboxes have their own uid")
    script = """
        import asyncio, shutil, sys
        from pathlib import Path
        import uv
        from tests.workers.builds import Builder, local
        from tests.workers.packages import Index
        from workers.sandboxes.drivers import choose, prepare

        home = Path(sys.argv[1])
        shutil.copy(uv.find_uv_bin(), home / "uv")
        uv.find_uv_bin = lambda: str(home / "uv")
        cache = home / "cache"
        cache.mkdir(mode=0o755)
        driver = choose(prepare([cache]))
        index = Index(home)
        index.url = sys.argv[2]
        builder = Builder(home, driver, local(index))
        print(asyncio.run(builder.build("good")))
    """
    tmp_path.chmod(0o700)

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), index.url],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert "how='succeeded'" in done.stdout, done.stdout + done.stderr
