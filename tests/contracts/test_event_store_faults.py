"""What every event store promises when something dies: no half append, none done twice, and on."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.event_store.asyncpg_types import connect
from adapters.event_store.migrate import migrate
from adapters.event_store.store import Store, open_store
from domain.agents import AgentCreated
from domain.errors import Unavailable
from domain.handling import Commands
from domain.ports import Change, Meta
from tests.contracts.log_writer import deploy_once
from tests.small_disks import on_a_small_disk

ME = Meta(actor="key:k1", workspace_id="w1", command_id="c1")
CREATED = AgentCreated(agent_id="a1", workspace_id="w1", name="a1")


@asynccontextmanager
async def writer(*command: str) -> AsyncGenerator[Process]:
    """A writing process, which does not outlive the test."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contracts.log_writer", *command, stdout=PIPE
    )
    try:
        async with asyncio.timeout(30):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_command_repeated_after_a_crash_before_its_answer_happens_once(
    store: Store, database_url: str
) -> None:
    async with writer("crash", database_url, "key-1") as process:
        assert await process.wait() == -signal.SIGKILL
    happened = await store.head()

    answer = await deploy_once(Commands(store), "key-1")

    assert happened > 0
    assert await store.head() == happened
    created = await store.read_all(after=0, types=["agent.created"])
    assert [each.event.agent_id.encode() for each in created] == [answer]


async def test_a_writer_killed_at_any_moment_leaves_a_whole_log(
    store: Store, database_url: str
) -> None:
    """What was acknowledged is there, each append is whole, and others go on."""
    before = 0
    for kills in range(3):
        async with writer("endless", database_url, f"{kills}-") as process:
            assert process.stdout is not None
            for _ in range(20 + 13 * kills):
                await process.stdout.readline()
            process.kill()
            last = (await process.stdout.read()).split(b"\n")[-2:-1]
            acknowledged = int(last[0]) if last else 20 + 13 * kills

        everything = await store.read_all(after=0, limit=100_000)
        assert [each.position for each in everything] == list(range(1, len(everything) + 1))
        # Three events an append, on two streams.
        assert len(everything) % 3 == 0
        assert len(everything) >= before + 3 * acknowledged
        before = len(everything)
    await store.append([Change(stream="agent-after", events=[CREATED], expected=0)], ME)


async def test_a_crash_of_the_database_takes_back_nothing_that_was_answered(
    postgres_url: str,
) -> None:
    """A dispatcher goes on from what it remembers, and would not look again at what was lost.

    The server of these tests syncs nothing unless it is asked to.
    """
    store = await open_store(postgres_url)
    try:
        asked = await store.database.fetch("SHOW synchronous_commit", ())
    finally:
        await store.close()

    assert [tuple(row) for row in asked] == [("on",)]


async def test_a_lost_connection_is_unavailable_and_then_mended(postgres_url: str) -> None:
    store = await open_store(postgres_url)
    await store.append([Change(stream="agent-0", events=[CREATED], expected=0)], ME)
    administrator = await connect(postgres_url)
    for number in range(1, 6):
        kill = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        change = Change(stream=f"agent-{number}", events=[CREATED], expected=0)
        outcomes = await asyncio.gather(
            store.append([change], ME), administrator.execute(kill), return_exceptions=True
        )
        if isinstance(outcomes[0], BaseException):
            assert isinstance(outcomes[0], Unavailable)

        # Sent again, it is done; unless it was done already, and only the answer got lost.
        head = await _load_again(store, f"agent-{number}")
        if head == 0:
            await store.append([change], ME)
        assert await _load_again(store, f"agent-{number}") == 1
    await administrator.close()

    assert [each.position for each in await store.read_all(after=0)] == list(range(1, 7))
    await store.close()


async def _load_again(store: Store, stream: str) -> int:
    """Read, although the connections may have been cut."""
    async with asyncio.timeout(10):
        while True:
            try:
                return (await store.load(stream)).version
            except Unavailable:
                await asyncio.sleep(0.01)


async def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await open_store("postgresql://argosy@127.0.0.1:1/nowhere")
    (tmp_path / "file").write_text("this is no directory")
    with pytest.raises(Unavailable):
        await open_store(f"sqlite:///{tmp_path / 'file' / 'log.db'}")
    (tmp_path / "text.db").write_text("this is no database, but quite long" * 100)
    with pytest.raises(Unavailable):
        await open_store(f"sqlite:///{tmp_path / 'text.db'}")


async def test_processes_that_start_at_once_create_the_schema_once(database_url: str) -> None:
    await asyncio.gather(*(migrate(database_url) for _ in range(4)))

    stores = await asyncio.gather(*(open_store(database_url) for _ in range(4)))

    for number, store in enumerate(stores):
        await store.append([Change(stream=f"agent-{number}", events=[CREATED], expected=0)], ME)
    assert await stores[0].head() == 4
    for store in stores:
        await store.close()


def test_a_full_disk_is_unavailable_and_then_mended() -> None:
    on_a_small_disk(
        """
        import asyncio
        from adapters.event_store.store import open_store
        from domain.agents import AgentCreated
        from domain.errors import Unavailable
        from domain.ports import Change, Meta

        ME = Meta(actor="key:k1", workspace_id="w1", command_id="c1")
        CREATED = AgentCreated(agent_id="a1", workspace_id="w1", name="n" * 20_000)

        async def append(store, number):
            changes = [
                Change(stream=f"agent-{number}", events=[CREATED], expected=0),
                Change(stream=f"agent-{number}b", events=[CREATED], expected=0),
            ]
            await store.append(changes, ME)

        async def main():
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(1_000_000))
            store = await open_store(f"sqlite:///{disk / 'log.db'}")
            done = 0
            try:
                while True:
                    await append(store, done)
                    done += 1
            except Unavailable as refusal:
                assert "full" in refusal.detail, refusal.detail
            assert await store.head() == 2 * done, (await store.head(), done)
            ballast.unlink()
            await append(store, done)
            positions = [each.position for each in await store.read_all(after=0)]
            assert positions == list(range(1, 2 * done + 3)), positions
            await store.close()

        asyncio.run(main())
        """
    )
