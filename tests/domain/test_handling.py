"""Commands: decided on what is stored, again when somebody else was first, and once per key."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from adapters.event_store.store import Store, open_store
from domain.agents import AGENT, Absent, Active, ArchiveAgent, CreateAgent
from domain.errors import Conflict, IdempotencyMismatch, NameTaken, NotFound, VersionConflict
from domain.handling import Commands, Idempotency, Unit
from domain.ports import Meta, Reservation

ME = Meta(actor="key:k1", workspace_id="w1", command_id="c1")
CREATE = CreateAgent(agent_id="a1", workspace_id="w1", name="greeter")
ARCHIVE = ArchiveAgent(agent_id="a1")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path / 'log.db'}")
    yield opened
    await opened.close()


@pytest.fixture
def commands(store: Store) -> Commands:
    return Commands(store)


async def test_a_command_s_events_are_stored(commands: Commands, store: Store) -> None:
    appended = await commands.send(AGENT, "a1", CREATE, ME)

    assert [each.type for each in appended.recorded] == ["agent.created"]
    assert list((await store.load("agent-a1")).events) == list(appended.recorded)


async def test_a_refusal_stores_nothing(commands: Commands, store: Store) -> None:
    with pytest.raises(NotFound):
        await commands.send(AGENT, "a1", ARCHIVE, ME)

    assert await store.head() == 0


async def test_a_unit_sees_what_it_has_decided(commands: Commands) -> None:
    async def work(unit: Unit) -> list[str]:
        before = await unit.state(AGENT, "a1")
        await unit.decide(AGENT, "a1", CREATE)
        after = await unit.state(AGENT, "a1")
        return [type(before).__name__, type(after).__name__]

    done = await commands.run(work, ME, key="a1")

    assert done.value == [Absent.__name__, Active.__name__]
    assert done.appended.position == 1


async def test_a_unit_sees_the_names_that_it_has_taken(commands: Commands) -> None:
    async def work(unit: Unit) -> list[str | None]:
        unit.reserve("w1", "agent", "greeter", "a1")
        taken = await unit.resolve("w1", "agent", "greeter")
        unit.reserve("w1", "agent", "greeter", "")
        return [taken, await unit.resolve("w1", "agent", "greeter")]

    assert (await commands.run(work, ME, key="a1")).value == ["a1", None]


async def test_a_unit_of_several_streams_is_one_append(commands: Commands, store: Store) -> None:
    other = CreateAgent(agent_id="a2", workspace_id="w1", name="other")

    async def work(unit: Unit) -> None:
        await unit.decide(AGENT, "a1", CREATE)
        unit.reserve("w1", "agent", "greeter", "a1")
        await unit.decide(AGENT, "a2", other)
        raise Conflict("No, after all.")

    with pytest.raises(Conflict):
        await commands.run(work, ME, key="a1")

    assert await store.head() == 0
    assert await store.names("w1", "agent") == {}


async def test_a_stale_decision_is_made_again(commands: Commands, store: Store) -> None:
    """Another process appends between the decision and its append, once."""
    other = Commands(store)
    await other.send(AGENT, "a1", CREATE, ME)
    tries: list[str] = []

    async def work(unit: Unit) -> None:
        state = await unit.state(AGENT, "a1")
        tries.append(type(state).__name__)
        if len(tries) == 1:
            await other.send(AGENT, "a1", ARCHIVE, ME)
        await unit.decide(AGENT, "a1", ARCHIVE)

    done = await commands.run(work, ME, key="other process")

    assert tries == ["Active", "Archived"]
    assert done.appended.position == 2
    assert await store.head() == 2


async def test_a_decision_that_is_always_stale_gives_up(commands: Commands, store: Store) -> None:
    other = Commands(store)
    tries = 0

    async def work(unit: Unit) -> None:
        nonlocal tries
        tries += 1
        id = f"a{tries}"
        create = CreateAgent(agent_id=id, workspace_id="w1", name="greeter")
        await unit.decide(AGENT, id, create)
        await other.send(AGENT, id, create, ME)

    with pytest.raises(VersionConflict):
        await commands.run(work, ME, key="a1")

    assert tries == 10


async def test_a_name_that_is_taken_meanwhile_is_looked_up_again(
    commands: Commands, store: Store
) -> None:
    found: list[str | None] = []

    async def work(unit: Unit) -> None:
        known = await unit.resolve("w1", "agent", "greeter")
        found.append(known)
        if known is None:
            taken = Reservation(scope="w1", kind="agent", name="greeter", id="a9")
            await store.append([], ME, reservations=[taken])
            unit.reserve("w1", "agent", "greeter", "a1")

    await commands.run(work, ME, key="a1")

    assert found == [None, "a9"]


async def test_a_name_that_stays_taken_is_refused(commands: Commands, store: Store) -> None:
    taken = Reservation(scope="w1", kind="agent", name="greeter", id="a9")
    await store.append([], ME, reservations=[taken])

    async def work(unit: Unit) -> None:
        unit.reserve("w1", "agent", "greeter", "a1")

    with pytest.raises(NameTaken):
        await commands.run(work, ME, key="a1")


async def test_units_of_one_key_queue_up(commands: Commands) -> None:
    inside = 0

    async def work(unit: Unit) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await unit.state(AGENT, "a1")
        inside -= 1

    await asyncio.gather(*(commands.run(work, ME, key="a1") for _ in range(5)))


async def test_a_command_sent_twice_is_done_once(commands: Commands, store: Store) -> None:
    once = Idempotency(scope="w1", key="k1", body_hash="h1")

    async def work(unit: Unit) -> bytes:
        await unit.decide(AGENT, "a1", CREATE)
        return b"created a1"

    first = await commands.run_once(work, ME, key="a1", idempotency=once)
    second = await commands.run_once(work, ME, key="a1", idempotency=once)

    assert first == second == (b"created a1", 1)
    other_body = Idempotency(scope="w1", key="k1", body_hash="h2")
    with pytest.raises(IdempotencyMismatch):
        await commands.run_once(work, ME, key="a1", idempotency=other_body)
    without = commands.run_once(work, ME, key="a1", idempotency=None)
    with pytest.raises(Conflict):
        await without
    assert await store.head() == 1


async def test_a_command_sent_twice_at_once_is_done_once(commands: Commands, store: Store) -> None:
    """Two processes: neither finds an answer, one is stored, both give it."""
    once = Idempotency(scope="w1", key="k1", body_hash="h1")
    other = Commands(store)

    def work(id: str) -> Callable[[Unit], Awaitable[bytes]]:
        async def create(unit: Unit) -> bytes:
            agent = CreateAgent(agent_id=id, workspace_id="w1", name="greeter")
            await unit.decide(AGENT, id, agent)
            return id.encode()

        return create

    (first, _), (second, _) = await asyncio.gather(
        commands.run_once(work("a1"), ME, key="greeter", idempotency=once),
        other.run_once(work("a2"), ME, key="greeter", idempotency=once),
    )

    assert first == second
    assert await store.head() == 1
