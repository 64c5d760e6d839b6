"""One run, from its claim to its end, in a real sandbox: every way in which it can end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from domain.entries import LogWritten, MessageSaid
from domain.errors import Conflict
from domain.limits import Limits
from domain.merkle import Frontier, entry_leaf
from domain.ports import Change
from domain.runs import RunClaimed, RunStarted
from tests.workers.benches import Bench, open_bench
from workers.claims import claim_run


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as opened:
        yield opened


def said(history: list[Any]) -> str:
    return "".join(each.event.text for each in history if isinstance(each.event, MessageSaid))


def root_of(history: list[Any]) -> str:
    frontier = Frontier()
    for each in history:
        if each.position is None:
            frontier = frontier.add(entry_leaf(each.version, each.type, each.data))
    return frontier.root()


async def test_an_agent_without_code_runs_the_loop(bench: Bench) -> None:
    end, history = await bench.run({})

    assert (end.how, end.reason) == ("failed", "model_error")
    assert "llm_configs" in end.detail
    assert any(isinstance(each.event, RunStarted) for each in history)


async def test_a_script_says_what_it_prints(bench: Bench) -> None:
    end, history = await bench.run("print('hello')\n")

    assert (end.how, end.reason, end.output, end.exit_code) == ("completed", "", "hello", 0)
    types = [each.type for each in history if each.position is not None]
    assert types == ["run.requested", "run.claimed", "run.started", "run.ended"]
    started = next(each.event for each in history if isinstance(each.event, RunStarted))
    assert set(started.stages) == {"layers", "sandbox", "started"}
    assert (end.entries, end.entries_root) == (1, root_of(history))
    assert end.usage.seconds > 0
    assert bench.settled == 1
    assert await bench.world.services.leases.held(history[0].stream) is None


async def test_a_handler_is_given_the_message(bench: Bench) -> None:
    code = "def handler(request):\n    return {'response': request['message'].upper()}\n"

    end, _ = await bench.run(code, message="quietly")

    assert (end.how, end.output) == ("completed", "QUIETLY")


@pytest.mark.parametrize(
    ("code", "reason", "exit_code"),
    [
        ("import sys; print('so far'); sys.exit(3)\n", "exit_nonzero", 3),
        ("raise RuntimeError('bug')\n", "exit_nonzero", 1),
        ("import os; os.kill(os.getpid(), 9)\n", "killed_by_signal", None),
    ],
)
async def test_a_program_that_fails_says_how(
    bench: Bench, code: str, reason: str, exit_code: int | None
) -> None:
    end, _ = await bench.run(code)

    assert (end.how, end.reason, end.exit_code) == ("failed", reason, exit_code)
    assert end.detail


async def test_a_program_that_never_ends_is_timed_out(bench: Bench) -> None:
    limits = Limits(memory_mb=128, disk_mb=8, seconds=1)

    end, history = await bench.run(
        "print('started', flush=True)\nwhile True: pass\n", limits=limits
    )

    assert (end.how, end.reason) == ("failed", "timed_out")
    assert "1 s" in end.detail
    assert said(history).strip() == "started"
    assert 1 <= end.usage.seconds < 5


async def test_a_program_that_prints_without_end_is_ended(bench: Bench) -> None:
    limits = Limits(memory_mb=128, disk_mb=8, seconds=20, output_kb=200)

    end, history = await bench.run("while True: print('y' * 70)\n", limits=limits)

    assert (end.how, end.reason) == ("failed", "output_limit")
    assert 200_000 < len(said(history)) < 400_000
    assert (end.entries, end.entries_root) == (
        sum(each.position is None for each in history),
        root_of(history),
    )


async def test_a_memory_hog_is_ended_alone(bench: Bench) -> None:
    if bench.workshop.pool.driver.scope != "sandbox":
        pytest.skip("limits hold for single processes here: there are no cgroups")
    limits = Limits(memory_mb=64, disk_mb=8, seconds=20)

    end, _ = await bench.run("x = bytearray(1 << 30)\nprint(len(x))\n", limits=limits)

    assert (end.how, end.reason) == ("failed", "out_of_memory")
    assert "64 MiB" in end.detail


async def test_a_cancelled_run_is_killed_and_keeps_what_it_said(bench: Bench) -> None:
    await bench.world.deploy(
        {"agent.py": "import time\nprint('working', flush=True)\ntime.sleep(60)\n"}
    )
    run_id = await bench.world.request()
    execution = await bench.execution(run_id)
    running = asyncio.create_task(execution.run())
    await bench.world.until(run_id, MessageSaid)

    await bench.world.cancel(run_id, "changed my mind")
    bench.cancel.ask("changed my mind")

    end = await running
    assert (end.how, end.reason, end.detail) == ("cancelled", "requested", "changed my mind")
    assert said(await bench.world.history(run_id)).strip() == "working"
    assert end.usage.seconds < 15


async def test_files_that_the_agent_made_or_changed_are_kept(bench: Bench) -> None:
    code = """
import os
os.makedirs("out")
open("out/report.txt", "w").write("done")
open("data.txt", "a").write("more")
os.symlink("/etc/passwd", "link")
"""
    end, history = await bench.run({"agent.py": code, "data.txt": "some", "same.txt": "same"})

    blobs = bench.world.services.blobs
    kept = {file.path: await blobs.get(file.digest) for file in end.files}
    assert kept == {"out/report.txt": b"done", "data.txt": b"somemore"}
    assert {file.path: file.size for file in end.files} == {"out/report.txt": 4, "data.txt": 8}
    logged = [each.event for each in history if isinstance(each.event, LogWritten)]
    assert [entry.stream for entry in logged] == ["system"]
    assert logged[0].line.startswith("link was not kept")


async def test_an_answer_is_kept_although_its_files_cannot_be(bench: Bench) -> None:
    """As on a full disk: nothing can be made where they wait between sandbox and blob store."""
    (bench.world.services.settings.data / "results").touch()

    end, history = await bench.run("open('new.txt', 'w').write('x')\nprint('hello')\n")

    assert (end.how, end.output, end.files) == ("completed", "hello", [])
    lines = [each.event.line for each in history if isinstance(each.event, LogWritten)]
    assert len(lines) == 1
    assert lines[0].startswith("The run's files could not be kept: Making room to work in")


async def test_a_long_output_is_cut_and_kept_whole_as_a_blob(bench: Bench) -> None:
    limits = Limits(memory_mb=128, disk_mb=8, seconds=20, output_kb=1024)

    end, _ = await bench.run("for n in range(3000): print('ü' * 25)\n", limits=limits)

    assert end.how == "completed"
    assert 64 * 1024 - 2 <= len(end.output.encode()) <= 64 * 1024
    whole = (await bench.world.services.blobs.get(end.output_digest)).decode()
    assert whole.startswith(end.output)
    assert whole.count("ü") == 75_000


async def test_an_answer_that_is_too_long_to_keep_is_said(bench: Bench) -> None:
    limits = Limits(memory_mb=128, disk_mb=8, seconds=20, output_kb=2048)
    code = "def handler(request):\n    return 'a' * (1 << 20) + 'bc'\n"

    end, history = await bench.run(code, limits=limits)

    assert end.how == "completed"
    assert await bench.world.services.blobs.get(end.output_digest) == b"a" * (1 << 20)
    logged = [each.event.line for each in history if isinstance(each.event, LogWritten)]
    assert logged == ["The answer was cut: 1024 KiB of it are kept."]


async def test_a_line_that_is_not_ended_is_shown_while_the_program_waits(bench: Bench) -> None:
    code = "import time\nprint('thinking', end='', flush=True)\ntime.sleep(30)\n"
    await bench.world.deploy({"agent.py": code})
    run_id = await bench.world.request()
    execution = await bench.execution(run_id)
    running = asyncio.create_task(execution.run())

    event = await bench.world.until(run_id, MessageSaid, 10)

    assert event.text == "thinking"
    bench.cancel.ask("seen")
    await running


async def test_what_cannot_be_enforced_is_refused_and_said(bench: Bench) -> None:
    if bench.workshop.pool.driver.scope == "sandbox":
        pytest.skip("everything can be enforced here")
    end, _ = await bench.run("print('never')\n")

    assert (end.how, end.reason) == ("failed", "sandbox_unavailable")


async def test_source_that_is_lost_ends_the_run_with_words(bench: Bench) -> None:
    deployed = await bench.world.deploy({"agent.py": "print('gone')\n"})
    run_id = await bench.world.request()
    for blob in (bench.world.services.settings.blob_directory / "sha256").rglob("*"):
        if blob.is_file():
            blob.unlink()

    end = await (await bench.execution(run_id)).run()

    assert deployed.build_id == ""
    assert (end.how, end.reason) == ("failed", "sandbox_unavailable")
    assert "blob store" in end.detail


async def test_a_run_that_was_taken_over_stores_nothing_more(bench: Bench) -> None:
    code = "import time\nfor n in range(600): print(n, flush=True); time.sleep(0.05)\n"
    await bench.world.deploy({"agent.py": code})
    run_id = await bench.world.request()
    execution = await bench.execution(run_id)
    running = asyncio.create_task(execution.run())
    await bench.world.until(run_id, MessageSaid)

    stream = f"run-{run_id}"
    fence = Change(stream=stream, fence=2)
    await bench.world.services.store.append([fence], bench.world.meta())
    count = len(await bench.world.history(run_id))

    with pytest.raises(Conflict):
        await running
    assert len(await bench.world.history(run_id)) == count


async def test_a_run_is_claimed_once(bench: Bench) -> None:
    await bench.world.deploy()
    run_id = await bench.world.request()

    claims = await asyncio.gather(
        *(claim_run(bench.world.services, run_id, f"host-{n}") for n in range(8))
    )

    won = [claim for claim in claims if claim is not None]
    assert len(won) == 1
    history = await bench.world.history(run_id)
    assert sum(isinstance(each.event, RunClaimed) for each in history) == 1
    held = await bench.world.services.leases.held(won[0].stream)
    assert held is not None
    assert held.owner == won[0].owner


async def test_a_run_whose_task_is_cancelled_leaves_no_process(bench: Bench) -> None:
    await bench.world.deploy({"agent.py": "print('up', flush=True)\nwhile True: pass\n"})
    run_id = await bench.world.request()
    execution = await bench.execution(run_id)
    running = asyncio.create_task(execution.run())
    await bench.world.until(run_id, MessageSaid)
    started = await bench.world.until(run_id, RunStarted)

    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

    assert _processes_of(started.sandbox) == []


def _processes_of(sandbox: str) -> list[int]:
    import psutil

    return [
        each.pid
        for each in psutil.process_iter(["cmdline"])
        if sandbox in (each.info["cmdline"] or [])
    ]
