"""The layer cache's limit: the longest unused layers go, and none that somebody uses."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.blobs import FolderBlobs
from domain.entries import MessageSaid
from domain.errors import Unavailable
from tests.workers.benches import open_bench
from tests.workers.worlds import ROOT
from workers.harnesses.harness import Launch
from workers.layers import LayerCache
from workers.sandboxes.driver import Mount, Spec
from workers.trimming import IDLE_SECONDS

MB = 1 << 20
HOLDER = """
import sys
from pathlib import Path
from workers.trimming import layer_held

with layer_held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def layers(tmp_path: Path) -> LayerCache:
    """A cache that may keep one of the layers below, not two."""
    return LayerCache(tmp_path / "cache", FolderBlobs(tmp_path / "blobs"), limit_mb=3)


async def a_layer(layers: LayerCache, letter: bytes) -> Path:
    """Make a layer of 2 MiB."""
    return await layers.runtime({"data": letter * 2 * MB})


def unused_for(seconds: float, layer: Path) -> None:
    """Let the layer look as if nobody used it for so long."""
    then = time.time() - seconds
    os.utime(layer, (then, then))


@contextmanager
def holding(layer: Path) -> Generator[None]:
    """Have another process use the layer until it is killed."""
    command = [sys.executable, "-c", HOLDER, str(layer)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield
        finally:
            process.kill()


async def test_the_longest_unused_go(layers: LayerCache) -> None:
    made = [await a_layer(layers, letter) for letter in (b"a", b"b", b"c")]
    for hours, layer in zip((2, 4, 3), made, strict=True):
        unused_for(hours * IDLE_SECONDS, layer)

    assert await layers.trim() == 2

    assert [layer.is_dir() for layer in made] == [True, False, False]
    assert list((layers.directory / "scratch").iterdir()) == []
    assert await layers.trim() == 0


async def test_what_fits_stays(layers: LayerCache) -> None:
    layer = await a_layer(layers, b"a")
    unused_for(9 * IDLE_SECONDS, layer)

    assert await layers.trim() == 0
    assert layer.is_dir()


async def test_without_a_limit_all_stays(layers: LayerCache, tmp_path: Path) -> None:
    for letter in (b"a", b"b"):
        unused_for(2 * IDLE_SECONDS, await a_layer(layers, letter))

    assert await LayerCache(layers.directory, FolderBlobs(tmp_path / "blobs")).trim() == 0


async def test_what_was_asked_for_lately_stays(layers: LayerCache) -> None:
    made = [await a_layer(layers, letter) for letter in (b"a", b"b")]
    for layer in made:
        unused_for(2 * IDLE_SECONDS, layer)
    await a_layer(layers, b"a")

    assert await layers.trim() == 1
    assert [layer.is_dir() for layer in made] == [True, False]


async def test_a_layer_that_went_is_made_again(layers: LayerCache) -> None:
    for letter in (b"a", b"b"):
        unused_for(2 * IDLE_SECONDS, await a_layer(layers, letter))
    await layers.trim()

    made = [await a_layer(layers, letter) for letter in (b"a", b"b")]

    assert [(layer / "data").read_bytes()[:1] for layer in made] == [b"a", b"b"]


async def test_a_layer_that_another_process_holds_stays_until_it_dies(layers: LayerCache) -> None:
    made = [await a_layer(layers, letter) for letter in (b"a", b"b")]
    with holding(made[0]):
        unused_for(9 * IDLE_SECONDS, made[0])
        unused_for(2 * IDLE_SECONDS, made[1])

        assert await layers.trim() == 1
        assert [layer.is_dir() for layer in made] == [True, False]
    other = await a_layer(layers, b"c")

    assert await layers.trim() == 1
    assert [layer.is_dir() for layer in (made[0], other)] == [False, True]


async def test_trimming_and_using_at_once_gives_nobody_a_layer_that_goes(
    layers: LayerCache, tmp_path: Path
) -> None:
    """As two processes do it: whoever is first, the layer is there for whoever has asked for it."""
    trimmer = LayerCache(layers.directory, FolderBlobs(tmp_path / "blobs"), limit_mb=1)

    def use() -> Path:
        return asyncio.run(a_layer(layers, b"a"))

    layer = await a_layer(layers, b"a")
    for _ in range(30):
        unused_for(2 * IDLE_SECONDS, layer)

        await asyncio.gather(trimmer.trim(), asyncio.to_thread(use))

        assert (layer / "data").stat().st_size == 2 * MB


async def test_a_layer_that_a_sandbox_shows_stays_until_that_is_gone() -> None:
    waits = {"agent.py": "import time\nprint('hello', flush=True)\ntime.sleep(60)\n"}
    async with open_bench(layer_cache_mb=1) as bench:
        layers = bench.workshop.layers
        await bench.world.deploy({**waits, "data": "x" * 2 * MB})
        run_id = await bench.world.request()
        running = asyncio.create_task((await bench.execution(run_id)).run())
        await bench.world.until(run_id, MessageSaid)
        (layer,) = (layers.directory / "layers").iterdir()
        unused_for(2 * IDLE_SECONDS, layer)

        assert await layers.trim() == 0

        bench.cancel.ask("enough")
        await running
        assert await layers.trim() == 0  # it was in use a moment ago
        unused_for(2 * IDLE_SECONDS, layer)
        assert await layers.trim() == 1


async def test_a_sandbox_is_not_opened_on_a_layer_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / f"sha256-{'0' * 64}"
    async with open_bench() as bench:
        spec = Spec(layers=(Mount(str(gone), "/opt/dependencies"),))
        launch = Launch(argv=("/bin/true",), environment={})

        with pytest.raises(Unavailable, match="layers"):
            async with bench.workshop.pool.open(spec, launch, None):
                pass
