"""What every event store promises its followers: each position once, in order, none skipped."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from typing import Any

from adapters.event_store.append import EVENT_COLUMNS
from adapters.event_store.asyncpg_types import connect
from adapters.event_store.migrate import sqlite_path
from adapters.event_store.store import Store, open_store
from domain.agents import AgentArchived, AgentCreated
from domain.decider import Recorded
from domain.entries import LogWritten
from domain.handling import Commands
from domain.ports import Change, Meta
from tests.contracts.log_writer import append_many, deploy_greeter

ME = Meta(actor="key:k1", workspace_id="w1", command_id="c1")
CREATED = AgentCreated(agent_id="a1", workspace_id="w1", name="a1")
SECONDS = 30.0


async def collect(store: Store, count: int, *, after: int = 0) -> list[int]:
    """Follow the log until there are so many positions."""
    seen: list[int] = []
    async with asyncio.timeout(SECONDS):
        async for page in store.follow(after=after, batch=7):
            seen += [recorded.position or 0 for recorded in page]
            if len(seen) >= count:
                return seen
    raise AssertionError


async def run_writers(url: str, *commands: tuple[str, ...]) -> None:
    """Run several writing processes at once, and wait until all have succeeded."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.contracts.log_writer", command[0], url, *command[1:]
        )
        for command in commands
    ]
    try:
        async with asyncio.timeout(SECONDS):
            codes = [await process.wait() for process in processes]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert codes == [0] * len(commands)


@asynccontextmanager
async def open_transaction(url: str) -> AsyncGenerator[None]:
    """Another process's append, held open: it has the next position, and has not committed."""
    columns = EVENT_COLUMNS.replace(" ", "")
    values = "'agent-held', 1, 1, 'w1', 'agent.created', 1, {data}, 0, '', '', '', ''"
    data = b'{"type":"agent.created","agent_id":"h","workspace_id":"w1","name":"h"}'
    insert = f"INSERT INTO events ({columns}) VALUES ({values})"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(sqlite_path(url), isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(insert.format(data="?"), (data,))
            yield
            connection.execute("COMMIT")
    else:
        other = await connect(url)
        try:
            async with other.transaction():
                await other.execute("UPDATE log_head SET position = position + 1")
                await other.execute(insert.format(data="$1"), data)
                yield
        finally:
            await other.close()


async def test_a_follower_never_passes_an_append_that_is_not_committed_yet(
    store: Store, database_url: str
) -> None:
    """The later append waits for the earlier one, and so does everybody who reads."""
    following = asyncio.create_task(collect(store, 2))
    async with open_transaction(database_url):
        later = asyncio.create_task(
            store.append([Change(stream="agent-later", events=[CREATED], expected=0)], ME)
        )
        await asyncio.wait({later, following}, timeout=0.3)

        assert not later.done()
        assert await store.read_all(after=0) == []

    assert (await later).position == 2
    assert await following == [1, 2]


async def test_entries_do_not_wait_for_the_logs_order(postgres_url: str) -> None:
    """A transcript goes on while somebody else holds the head. (SQLite has one writer anyway.)"""
    store = await open_store(postgres_url)
    async with open_transaction(postgres_url), asyncio.timeout(5):
        said = LogWritten(stream="stdout", line="hello")
        await store.append([Change(stream="run-r1", events=[said])], ME)

    assert len(await store.read("run-r1")) == 1
    await store.close()


async def test_followers_of_many_writing_processes_see_every_position_in_order(
    store: Store, database_url: str
) -> None:
    count = 2 * 40 * 4
    following = asyncio.create_task(collect(store, count))

    await asyncio.gather(
        run_writers(database_url, *(("append", f"p{n}-", "40") for n in range(3))),
        append_many(store, "mine-", 40),
    )

    assert await following == list(range(1, count + 1))
    shared = [each.version for each in await store.read("run-shared", limit=10_000)]
    assert shared == list(range(1, len(shared) + 1))
    assert len(shared) == 4 * (40 + 14)
    everything = await store.read_all(after=0, limit=10_000)
    assert [each.position for each in everything] == list(range(1, count + 1))


async def test_a_follower_starts_where_it_was_told(store: Store) -> None:
    for number in range(5):
        await store.append([Change(stream=f"agent-{number}", events=[CREATED], expected=0)], ME)

    assert await collect(store, 2, after=3) == [4, 5]


async def test_a_follower_of_some_types_gets_those(store: Store) -> None:
    archived = AgentArchived(agent_id="a1")
    for number in range(20):
        changes = [Change(stream=f"agent-{number}", events=[CREATED], expected=0)]
        await store.append(changes, ME)
    await store.append([Change(stream="agent-3", events=[archived], expected=1)], ME)
    seen: list[Recorded[Any]] = []

    async with asyncio.timeout(SECONDS):
        async for page in store.follow(after=0, batch=3, types=["agent.archived"]):
            seen += page
            if len(seen) == 1:
                await store.append([Change(stream="agent-4", events=[archived], expected=1)], ME)
            if len(seen) == 2:
                break

    assert [each.stream for each in seen] == ["agent-3", "agent-4"]


async def test_another_processes_append_is_found_by_the_poll(
    store: Store, database_url: str
) -> None:
    following = asyncio.create_task(collect(store, 1))
    await asyncio.wait({following}, timeout=0.1)

    other = await open_store(database_url)
    await other.append([Change(stream="agent-1", events=[CREATED], expected=0)], ME)
    await other.close()

    assert await following == [1]


async def test_a_hint_wakes_a_follower_at_once(store: Store, database_url: str) -> None:
    loop = asyncio.get_running_loop()
    other = await open_store(database_url)
    waits: list[float] = []
    try:
        for number in range(4):
            following = asyncio.create_task(collect(store, 1, after=number))
            await asyncio.wait({following}, timeout=0.1)
            change = Change(stream=f"agent-{number}", events=[CREATED], expected=0)
            appended = await other.append([change], ME)
            started = loop.time()

            store.wake(appended.position)

            await following
            waits.append(loop.time() - started)
    finally:
        await other.close()
    assert min(waits) < 0.2


async def test_fifty_deploys_of_one_name_at_once_make_one_agent(store: Store) -> None:
    commands = Commands(store)

    agents = await asyncio.gather(*(deploy_greeter(commands) for _ in range(50)))

    assert len(set(agents)) == 1
    await assert_one_agent(store)


async def test_deploys_of_one_name_in_several_processes_make_one_agent(
    store: Store, database_url: str
) -> None:
    commands = Commands(store)
    await asyncio.gather(
        run_writers(database_url, ("deploy", "25"), ("deploy", "25")),
        *(deploy_greeter(commands) for _ in range(25)),
    )

    await assert_one_agent(store)


async def assert_one_agent(store: Store) -> None:
    everything = await store.read_all(after=0, limit=10_000)
    counted = {
        type_: sum(each.type == type_ for each in everything)
        for type_ in ("agent.created", "agent.version_drafted", "deployment.created")
    }
    assert counted == {
        "agent.created": 1,
        "agent.version_drafted": 1,
        "deployment.created": 1,
    }
