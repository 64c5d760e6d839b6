"""Sandboxes that were opened ahead: what a run finds in one, and what is left of it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psutil
import pytest

from domain.limits import Limits
from domain.runs import RunStarted
from tests.pages import grown, here
from tests.workers.benches import Bench, open_bench
from tests.workers.worlds import LIMITS, eventually
from workers import pool as pools
from workers.plans import expect_plain_runs
from workers.pool import shares
from workers.workshops import places_scratch

OTHER = Limits(memory_mb=128, disk_mb=16)
SECONDS = 60.0  # for what takes milliseconds, on a machine that does much else
SAYS = "print('hello', flush=True)\n"


@asynccontextmanager
async def warm_bench(size: int = 1) -> AsyncGenerator[Bench]:
    """A bench that keeps sandboxes for runs under LIMITS."""
    async with open_bench(warm_sandboxes=size) as bench:
        pool = bench.workshop.pool
        keeping = asyncio.create_task(pool.keep())
        try:
            yield bench
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await pool.close()
        assert list(places_scratch(bench.world.services.settings).iterdir()) == []


async def ready(bench: Bench, count: int = 1) -> None:
    """Wait until so many sandboxes wait for runs."""

    async def enough() -> bool:
        return bench.workshop.pool.ready == count

    await eventually(enough, SECONDS)


def name_of(process: psutil.Process) -> str:
    """What a process is called; nothing if it is gone."""
    try:
        return process.name()
    except psutil.NoSuchProcess:  # of a sandbox that is being destroyed
        return ""


async def begin(bench: Bench, limits: Limits = LIMITS) -> None:
    """Have one ready for a run under `limits`, by having run one."""
    await bench.run(SAYS, limits=limits)
    await ready(bench)


def started(history: list[Any]) -> RunStarted:
    """How the run's program began."""
    (found,) = [each.event for each in history if isinstance(each.event, RunStarted)]
    return found


async def test_a_run_takes_a_sandbox_that_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "REST_SECONDS", 0.0)
    before = here()
    async with warm_bench() as bench:
        end, history = await bench.run(SAYS)
        assert (end.output.strip(), started(history).warm) == ("hello", False)
        await ready(bench)

        end, second = await bench.run(SAYS)
        assert (end.output.strip(), started(second).warm) == ("hello", True)
        await ready(bench)
        _, third = await bench.run(SAYS)

        assert started(third).warm
        sandboxes = {started(each).sandbox for each in (history, second, third)}
        assert len(sandboxes) == 3, "each serves one run"
    taken = grown(before, here())
    assert taken["argosy_pool_taken_total", "warm"] == 2
    assert taken["argosy_pool_taken_total", "cold"] == 1


async def test_plain_runs_are_expected_before_the_first() -> None:
    async with warm_bench(2) as bench:
        expect_plain_runs(bench.workshop)
        await ready(bench, 2)

        _, history = await bench.run(SAYS, limits=Limits())

        assert started(history).warm


async def test_an_agent_finds_in_it_what_it_would_find_in_any() -> None:
    code = """
import json, os, sys, time, urllib.request
health = os.environ["LLM_GATEWAY_URL"].rsplit("/v1/", 1)[0] + "/healthz"
print(json.dumps({
    "argv": sys.argv[1:],
    "stdin": sys.stdin.read(),
    "work": sorted(os.listdir(".")),
    "tmp": os.listdir("/tmp"),
    "data": open("data/words.txt").read(),
    "token": os.environ["TOKEN"],
    "run": len(os.environ["ARGOSY_RUN_ID"]),
    "zone": time.tzname[0],
    "names": sorted(set(os.environ) - {"_", "LC_CTYPE", "SHLVL", "OLDPWD"}),
    "child": os.popen("printenv TOKEN").read().strip(),
    "gateway": urllib.request.urlopen(health, timeout=20).read().decode(),
    "path": sys.path,
}))
open("made.txt", "w").write("made")
"""
    tree = {"agent.py": code, "data/words.txt": "words\n"}
    settings: dict[str, Any] = {"environment": {"TOKEN": "ü\n'quoted' $HOME", "TZ": "Etc/GMT-5"}}
    async with warm_bench() as bench:
        cold, history = await bench.run(tree, **settings)
        assert (cold.how, cold.detail) == ("completed", "")
        assert not started(history).warm
        await ready(bench)

        warm, history = await bench.run(tree, **settings)

        assert started(history).warm
        assert warm.output == cold.output
        assert warm.files == cold.files
        assert [file.path for file in warm.files] == ["made.txt"]


async def test_a_source_of_many_files_is_there_before_the_agent_looks() -> None:
    tree = {f"pieces/{n}/piece.txt": str(n) for n in range(200)}
    code = "import glob\nprint(sum(int(open(p).read()) for p in glob.glob('pieces/*/*.txt')))\n"
    async with warm_bench() as bench:
        await begin(bench)

        end, history = await bench.run({"agent.py": code, **tree})

        assert started(history).warm
        assert end.output.strip() == str(sum(range(200)))


async def test_nothing_can_be_written_to_the_source_that_others_share() -> None:
    code = """
import os
for path in ("/app/agent.py", "/app/new"):
    try:
        open(path, "w")
    except OSError as error:
        print(error.strerror)
try:
    os.chmod("/app/agent.py", 0o777)
except OSError as error:
    print(error.strerror)
"""
    async with warm_bench() as bench:
        await begin(bench)

        end, history = await bench.run(code)

        assert started(history).warm
        assert set(end.output.split("\n")) <= {"Read-only file system", "Permission denied", ""}


async def test_another_kind_waits_once_and_is_ready_then() -> None:
    async with warm_bench() as bench:
        await begin(bench)

        _, history = await bench.run(SAYS, limits=OTHER)
        assert not started(history).warm

        async def is_warm() -> bool:
            _, history = await bench.run(SAYS, limits=OTHER)
            return started(history).warm

        await eventually(is_warm, SECONDS)


async def test_what_a_loader_reads_cannot_be_told_later() -> None:
    code = "import os\nprint(open('/proc/self/environ').read().count('LD_LIBRARY_PATH=/work'))\n"
    async with warm_bench() as bench:
        await begin(bench)

        end, history = await bench.run(code, environment={"LD_LIBRARY_PATH": "/work"})

        assert not started(history).warm
        assert end.output.strip() == "1"


async def test_one_that_died_meanwhile_is_replaced_and_serves_nobody() -> None:
    others = set(psutil.Process().children(recursive=True))  # of tests before, such as an engine
    async with warm_bench() as bench:
        await begin(bench)
        folder = places_scratch(bench.world.services.settings)
        (before,) = folder.iterdir()

        async def gone() -> bool:
            if before not in folder.iterdir():
                return True
            # More than once: it is ready before its shell has become python.
            for process in set(psutil.Process().children(recursive=True)) - others:
                if name_of(process).startswith("python"):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            return False

        await eventually(gone, SECONDS)
        await ready(bench)
        end, history = await bench.run(SAYS)

        assert (end.how, started(history).warm) == ("completed", True)


async def test_without_a_pool_every_sandbox_is_opened_for_its_run() -> None:
    async with warm_bench(0) as bench:
        for _ in range(2):
            _, history = await bench.run(SAYS)
            assert not started(history).warm
        assert bench.workshop.pool.ready == 0


async def test_what_cannot_be_opened_ahead_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "FIRST_PAUSE_SECONDS", 0.05)
    async with warm_bench() as bench:
        folder = places_scratch(bench.world.services.settings)
        folder.write_text("in the way")
        expect_plain_runs(bench.workshop)
        await asyncio.sleep(0)
        assert bench.workshop.pool.ready == 0
        folder.unlink()

        await ready(bench)


@pytest.mark.parametrize(
    ("size", "kinds", "expected"),
    [
        (0, [b"a"], {}),
        (3, [], {}),
        (3, [b"a"], {b"a": 3}),
        (3, [b"a", b"b"], {b"a": 2, b"b": 1}),
        (2, [b"a", b"b", b"c"], {b"a": 1, b"b": 1}),
    ],
)
def test_kinds_share_the_pool(size: int, kinds: list[bytes], expected: dict[bytes, int]) -> None:
    assert shares(size, kinds) == expected
