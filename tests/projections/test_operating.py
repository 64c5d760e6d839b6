"""The projector as a process, and the operator's commands beside it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.event_store.store import Store, open_store
from adapters.settings import Settings
from projections import generations
from projections.databases import open_database
from projections.generations import served
from projections.reads import ReadModels, open_reads
from projections.runs import list_runs
from tests.projections.histories import requested, say, until

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30.0


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """As an operator would have them; there is no Redis, and nothing needs it."""
    database = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    redis = f"unix://{tmp_path / 'nobody.sock'}"
    return Settings(data=tmp_path, database=database, redis=redis, log_format="text")


def environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "ARGOSY_DATA": str(settings.data),
        "ARGOSY_DATABASE": settings.database,
        "ARGOSY_REDIS": settings.redis,
    }


async def command(settings: Settings, *arguments: str) -> tuple[int, str, str]:
    """Run `python -m projections …` to its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "projections", *arguments),
        cwd=ROOT,
        env=environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SECONDS):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@asynccontextmanager
async def projector(settings: Settings) -> AsyncGenerator[None]:
    """Have the process run; it ends in order when it is told to."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "projections"), cwd=ROOT, env=environment(settings)
    )
    try:
        yield
        assert process.returncode is None
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[tuple[Store, ReadModels]]:
    store, reads = await open_store(settings.log_url), await open_reads(settings.read_url)
    try:
        yield store, reads
    finally:
        await reads.close()
        await store.close()


async def ids(reads: ReadModels) -> list[str]:
    return [row.id for row in (await list_runs(reads, "w", limit=200)).items]


async def test_a_rebuild_beside_the_projector(settings: Settings) -> None:
    """Reads are served throughout, and the projector goes on with the new table."""
    async with opened(settings) as (store, reads):
        for number in range(20):
            await say(store, f"run-r{number}", requested(f"r{number}"))
        async with projector(settings):
            assert await reads.wait_for("runs", await store.head(), SECONDS) == 20
            rebuilding = asyncio.create_task(command(settings, "rebuild", "runs"))
            while not rebuilding.done():
                assert len(await ids(reads)) == 20
                await asyncio.sleep(0.005)
            code, output, errors = await rebuilding
            appended = await say(store, "run-new", requested("new"))
            reached = await reads.wait_for("runs", appended.position, SECONDS)
            newest = (await ids(reads))[0]
            status = await command(settings, "status")

    assert (code, errors) == (0, "")
    assert output.splitlines()[-1].startswith("runs_v1_g2 is served now: 20 positions in")
    assert (reached, newest) == (21, "new")
    assert status[0] == 0
    lines = [" ".join(line.split()) for line in status[1].splitlines()]
    assert lines[0] == "TABLE STATE POSITION of 21"
    assert "runs_v1 retired 20" in lines
    assert "runs_v1_g2 active 21" in lines
    assert "workspaces_v1 active 21" in lines


async def test_a_stopped_projection_is_shown_and_retried(settings: Settings) -> None:
    async with opened(settings) as (store, reads):
        await say(store, "run-r1", requested("r1"))
        async with projector(settings):
            await reads.wait_for("runs", 1, SECONDS)
            before = await command(settings, "retry", "runs")
            await stop_runs(settings)
            await until(lambda: stopped(reads))
            status = await command(settings, "status")
            code, output, _ = await command(settings, "retry", "runs")
            appended = await say(store, "run-r2", requested("r2"))
            reached = await reads.wait_for("runs", appended.position, SECONDS)

    assert before[0] == 1
    assert before[2] == "runs has not stopped; there is nothing to retry.\n"
    assert "event 2: KeyError: 'surprise'" in status[1]
    assert (code, output.split(";")[0]) == (0, "runs goes on at position 2")
    assert reached == appended.position


async def stop_runs(settings: Settings) -> None:
    engine = open_database(settings.read_url, writes=True)
    async with engine.begin() as connection:
        runs = served(await generations.lock(connection, "runs"), "runs")
        assert runs
        error = "KeyError: 'surprise'"
        await generations.set_state(connection, runs, "stopped", error=error, error_position=2)
    await engine.dispose()


async def stopped(reads: ReadModels) -> bool:
    return (await reads.positions())["runs"].state == "stopped"


async def test_an_unknown_read_model_is_refused(tmp_path: Path) -> None:
    code, _, errors = await command(Settings(data=tmp_path), "rebuild", "moods")

    assert code == 2
    assert "invalid choice: 'moods'" in errors
