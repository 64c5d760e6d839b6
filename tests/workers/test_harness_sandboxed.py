"""The harness `source` in a real sandbox: nothing that it does is forbidden there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from domain.entries import MessageSaid, RunEntry
from domain.limits import Limits
from tests.workers.builds import open_directory, the_driver
from workers.harnesses.harness import Result, Task
from workers.harnesses.runtimes import write_runtime
from workers.harnesses.source import Source
from workers.sandboxes.bases import find_base
from workers.sandboxes.driver import Exit, Mount, Output, Spec


class Done(Struct):
    """A run in a sandbox that has ended."""

    entries: list[RunEntry]
    result: Result
    files: list[str]


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_directory() as path:
        yield path


async def run(
    folder: Path, files: dict[str, str], *, disk_mb: int = 16, message: str = "hi"
) -> Done:
    """Run a source as the run host would."""
    source, into = folder / "source", folder / "results"
    for path, text in files.items():
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    into.mkdir()
    base, driver, harness = find_base(), the_driver(), Source()
    runtime = write_runtime(folder / "cache", base.python)
    task = Task(run_id="r", message=message, entry_point="agent.py", python=base.python)
    launch = harness.launch(task)
    spec = Spec(
        layers=(*base.layers, Mount(str(runtime), "/opt/argosy"), Mount(str(source), "/app")),
        symlinks=base.symlinks,
        hidden=base.hidden,
        files=base.files,
        working_directory=launch.working_directory,
        environment=launch.environment,
        limits=Limits(memory_mb=256, disk_mb=disk_mb, seconds=30),
        scope=driver.scope,
        channel=launch.uses_channel,
    )
    reader = harness.reader(task)
    entries: list[RunEntry] = []
    end = Exit(code=None)
    async with driver.open(spec) as sandbox:
        async for item in sandbox.run(launch.argv, stdin=launch.stdin):
            match item:
                case Output(stream=stream, data=data):
                    entries += reader.feed(stream, data)
                case Exit():
                    end = item
        last, result = reader.finish(code=end.code, signal=end.signal)
        left = await sandbox.collect(into)
    return Done([*entries, *last], result, [file.path for file in left.files])


async def test_an_agent_streams_reads_and_writes(folder: Path) -> None:
    source = """
import os, subprocess, sys, tempfile
from argosy import agent
def handler(message, ctx=None): ...
def handler(message: str):
    agent.think(open("data.txt").read())
    with open("out.txt", "w") as out:
        print("written", file=out)
    tempfile.TemporaryFile().write(b"x")
    subprocess.run([sys.executable, "-c", "import argosy.agent"], check=True)
    yield message
    yield f" from {os.getcwd()}"
"""
    done = await run(folder, {"agent.py": source, "data.txt": "data"}, message="ü" * 200_000)

    assert (done.result.how, done.result.detail) == ("completed", "")
    assert done.result.output == "ü" * 200_000 + " from /work"
    assert sorted(done.files) == ["agent.py", "data.txt", "out.txt"]


async def test_a_source_that_does_not_fit_is_said(folder: Path) -> None:
    done = await run(folder, {"agent.py": "print(1)", "big.txt": "x" * (3 << 20)}, disk_mb=1)

    assert (done.result.how, done.result.reason) == ("failed", "harness_error")
    assert "No space left" in done.result.detail


async def test_scripts_and_threads_and_processes_work(folder: Path) -> None:
    source = """
import asyncio, multiprocessing, threading
from concurrent.futures import ProcessPoolExecutor
async def go(): return await asyncio.to_thread(lambda: "threads")
if __name__ == "__main__":
    with ProcessPoolExecutor(1) as pool:
        print(pool.submit(str.upper, "processes").result())
    print(asyncio.run(go()), input())
"""
    done = await run(folder, {"agent.py": source})

    assert (done.result.output, done.result.detail) == ("PROCESSES\nthreads hi", "")
    said = [entry.text for entry in done.entries if isinstance(entry, MessageSaid)]
    assert "".join(said) == done.result.output
