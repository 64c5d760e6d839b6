"""What every event store promises of appends and reads; `domain/ports.py` EventStore."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from adapters.event_store.store import Store
from domain.agents import AgentArchived, AgentCreated
from domain.decider import Event
from domain.entries import LogWritten
from domain.errors import (
    AlreadyAnswered,
    ArgosyError,
    Fenced,
    IdempotencyMismatch,
    NameTaken,
    VersionConflict,
)
from domain.ports import Answer, Change, Meta, Reservation
from domain.registry import Unknown

ME = Meta(actor="key:k1", workspace_id="w1", command_id="c1")


def created(name: str = "a1") -> AgentCreated:
    return AgentCreated(agent_id=name, workspace_id="w1", name=name)


def line(number: int) -> LogWritten:
    return LogWritten(stream="stdout", line=f"line {number}")


def change(
    stream: str, *events: Event, expected: int | None = None, attempt: int | None = None
) -> Change:
    return Change(stream=stream, events=events, expected=expected, attempt=attempt)


async def test_what_is_appended_is_read_back_as_it_was_returned(store: Store) -> None:
    meta = Meta(
        actor="key:k1",
        workspace_id="w1",
        command_id="c1",
        correlation_id="request-7",
        causation_id="event-3",
    )
    before = datetime.now(UTC)

    appended = await store.append([change("agent-a1", created(), line(1), expected=0)], meta)

    event, entry = appended.recorded
    assert (event.position, event.version, event.type) == (1, 1, "agent.created")
    assert (entry.position, entry.version, entry.type) == (None, 2, "run.log_written")
    assert event.event == created()
    assert msgspec.json.decode(event.data)["agent_id"] == "a1"
    assert (event.actor, event.workspace_id, event.command_id) == ("key:k1", "w1", "c1")
    assert (event.correlation_id, event.causation_id) == ("request-7", "event-3")
    assert before - timedelta(seconds=1) < event.at < datetime.now(UTC) + timedelta(seconds=1)
    assert await store.read("agent-a1") == [event, entry]
    assert await store.read_all(after=0) == [event]
    assert appended.position == await store.head() == 1


async def test_an_empty_log_has_nothing(store: Store) -> None:
    assert await store.head() == 0
    assert await store.read_all(after=0) == []
    assert await store.read("run-r1") == []
    head = await store.load("run-r1")
    assert (list(head.events), head.version, head.folding_version, head.attempt) == ([], 0, 0, 0)


async def test_a_stale_writer_is_refused_and_writes_nothing(store: Store) -> None:
    await store.append([change("agent-a1", created(), expected=0)], ME)

    with pytest.raises(VersionConflict):
        await store.append([change("agent-a1", created(), created(), expected=0)], ME)

    assert len(await store.read("agent-a1")) == 1
    assert await store.head() == 1


async def test_a_stale_writer_fails_alone_and_not_its_batch(store: Store) -> None:
    """Ten callers at once for one stream, and ten for others: one and ten succeed."""
    outcomes = await asyncio.gather(
        *(store.append([change("agent-same", created(), expected=0)], ME) for _ in range(10)),
        *(store.append([change(f"agent-{n}", created(), expected=0)], ME) for n in range(10)),
        return_exceptions=True,
    )

    refused = [outcome for outcome in outcomes if isinstance(outcome, ArgosyError)]
    assert len(refused) == 9
    assert all(isinstance(error, VersionConflict) for error in refused)
    assert [each.position for each in await store.read_all(after=0)] == list(range(1, 12))


async def test_an_expectation_without_events_is_checked_too(store: Store) -> None:
    await store.append([change("agent-a1", created(), expected=0)], ME)

    changes = [change("agent-a1", expected=0), change("agent-a2", created(), expected=0)]

    with pytest.raises(VersionConflict):
        await store.append(changes, ME)

    assert await store.read("agent-a2") == []


async def test_several_streams_change_together_or_not_at_all(store: Store) -> None:
    await store.append([change("agent-a2", created("a2"), expected=0)], ME)
    both = [
        change("agent-a1", created(), expected=0),
        change("agent-a2", created("a2"), expected=0),
    ]

    with pytest.raises(VersionConflict):
        await store.append(both, ME, reservations=[_name("greeter", "a1")])

    assert await store.read("agent-a1") == []
    assert await store.resolve("w1", "agent", "greeter") is None

    both[1] = change("agent-a2", AgentArchived(agent_id="a2"), expected=1)
    appended = await store.append(both, ME, reservations=[_name("greeter", "a1")])

    assert [each.position for each in appended.recorded] == [2, 3]
    assert [each.stream for each in await store.read_all(after=1)] == ["agent-a1", "agent-a2"]
    assert await store.resolve("w1", "agent", "greeter") == "a1"


async def test_a_busy_transcript_never_makes_a_command_stale(store: Store) -> None:
    """`expected` counts folding events, and versions are given out where the stream is."""
    await store.append([change("run-r1", created(), expected=0)], ME)
    await asyncio.gather(
        *(store.append([change("run-r1", line(n), line(n), attempt=0)], ME) for n in range(50)),
        store.append([change("run-r1", AgentArchived(agent_id="r1"), expected=1)], ME),
    )

    history = await store.read("run-r1")
    assert [each.version for each in history] == list(range(1, 103))
    head = await store.load("run-r1")
    assert [each.type for each in head.events] == ["agent.created", "agent.archived"]
    assert (head.version, head.folding_version) == (102, 2)
    assert await store.head() == 2


async def test_a_fenced_attempt_appends_nothing(store: Store) -> None:
    claim = Change(stream="run-r1", events=[created()], expected=0, fence=1)
    await store.append([claim], ME)
    await store.append([change("run-r1", line(1), attempt=1)], ME)
    await store.append([Change(stream="run-r1", events=[created()], expected=1, fence=2)], ME)

    with pytest.raises(Fenced):
        await store.append([change("run-r1", line(2), attempt=1)], ME)
    with pytest.raises(Fenced):
        await store.append([change("run-r1", created(), expected=2, attempt=1)], ME)
    await store.append([change("run-r1", line(3), attempt=2)], ME)

    lines = [each.event.line for each in await store.read("run-r1") if each.position is None]
    assert lines == ["line 1", "line 3"]
    assert (await store.load("run-r1")).attempt == 2


async def test_a_stream_of_entries_alone_can_be_claimed(store: Store) -> None:
    """It has no folding event, and is not new all the same; nobody is refused for that."""
    await store.append([Change(stream="run-r1", events=[line(1)], fence=1)], ME)
    await store.append([], ME, reservations=[_name("greeter", "a1")])
    taken = store.append(
        [change("run-r1", created(), expected=0)], ME, reservations=[_name("greeter", "a2")]
    )
    worker = store.append([change("run-r1", line(2), expected=0, attempt=1)], ME)
    claim = store.append([change("run-r1", created(), expected=0)], ME)

    outcomes = await asyncio.gather(taken, worker, claim, return_exceptions=True)

    assert isinstance(outcomes[0], NameTaken)
    assert not isinstance(outcomes[1], BaseException)
    assert not isinstance(outcomes[2], BaseException)
    assert [each.version for each in await store.read("run-r1")] == [1, 2, 3]


async def test_a_name_is_one_thing_s(store: Store) -> None:
    await store.append([], ME, reservations=[_name("greeter", "a1")])
    await store.append([], ME, reservations=[_name("greeter", "a1")])

    with pytest.raises(NameTaken) as refusal:
        await store.append([], ME, reservations=[_name("other", "a2"), _name("greeter", "a2")])

    assert refusal.value.members["id"] == "a1"
    assert await store.names("w1", "agent") == {"greeter": "a1"}
    await store.append([], ME, reservations=[_name("greeter", "")])
    assert await store.resolve("w1", "agent", "greeter") is None
    await store.append([], ME, reservations=[_name("greeter", ""), _name("greeter", "a2")])
    await store.append([], ME, reservations=[_name("greeter", ""), _name("greeter", "a3")])
    assert await store.names("w1", "agent") == {"greeter": "a3"}
    assert await store.names("w2", "agent") == {}


async def test_of_many_who_want_a_name_at_once_one_gets_it(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(
            store.append(
                [change(f"agent-{n}", created(), expected=0)],
                ME,
                reservations=[_name("greeter", str(n))],
            )
            for n in range(20)
        ),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, NameTaken) for outcome in outcomes) == 19
    winner = await store.resolve("w1", "agent", "greeter")
    assert [each.stream for each in await store.read_all(after=0)] == [f"agent-{winner}"]


async def test_a_command_is_done_once_and_answers_the_same(store: Store) -> None:
    answer = Answer(scope="w1", key="k1", body_hash="h1", body=b"the answer")
    await store.append([change("agent-a1", created(), expected=0)], ME, answer=answer)

    with pytest.raises(AlreadyAnswered):
        await store.append([change("agent-a2", created(), expected=0)], ME, answer=answer)

    assert await store.read("agent-a2") == []
    assert await store.answered("w1", "k1", "h1") == b"the answer"
    assert await store.answered("w2", "k1", "h1") is None
    assert await store.answered("w1", "k2", "h1") is None
    with pytest.raises(IdempotencyMismatch):
        await store.answered("w1", "k1", "h2")


async def test_a_command_sent_many_times_at_once_is_done_once(store: Store) -> None:
    answer = Answer(scope="w1", key="k1", body_hash="h1", body=b"the answer")
    outcomes = await asyncio.gather(
        *(
            store.append([change(f"agent-{n}", created(), expected=0)], ME, answer=answer)
            for n in range(10)
        ),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, AlreadyAnswered) for outcome in outcomes) == 9
    assert await store.head() == 1


async def test_a_refused_command_can_be_sent_again(store: Store) -> None:
    answer = Answer(scope="w1", key="k1", body_hash="h1", body=b"the answer")
    with pytest.raises(VersionConflict):
        await store.append([change("agent-a1", created(), expected=3)], ME, answer=answer)

    assert await store.answered("w1", "k1", "h1") is None
    await store.append([change("agent-a1", created(), expected=0)], ME, answer=answer)


async def test_an_append_of_nothing_says_where_the_log_is(store: Store) -> None:
    await store.append([change("agent-a1", created(), expected=0)], ME)

    nothing = await store.append([change("agent-a1", expected=1)], ME)
    entries = await store.append([change("agent-a1", line(1))], ME)

    assert (nothing.position, list(nothing.recorded)) == (1, [])
    assert entries.position == 1


async def test_reads_page_both_ways(store: Store) -> None:
    await store.append([change("run-r1", *(line(n) for n in range(1, 8)))], ME)

    async def versions(*, after: int = 0, limit: int = 3, backwards: bool = False) -> list[int]:
        page = await store.read("run-r1", after=after, limit=limit, backwards=backwards)
        return [each.version for each in page]

    assert await versions() == [1, 2, 3]
    assert await versions(after=6) == [7]
    assert await versions(backwards=True) == [7, 6, 5]
    assert await versions(after=3, backwards=True) == [2, 1]


async def test_types_can_be_chosen(store: Store) -> None:
    for number in range(4):
        await store.append([change(f"agent-{number}", created(), expected=0)], ME)
    await store.append([change("agent-1", AgentArchived(agent_id="1"), expected=1)], ME)

    archived = await store.read_all(after=0, types=["agent.archived", "agent.archived"])

    assert [each.position for each in archived] == [5]
    assert await store.read_all(after=0, types=[]) == []
    chosen = await store.read_all(after=1, limit=2, types=["agent.created", "agent.archived"])
    assert [each.position for each in chosen] == [2, 3]


async def test_an_event_of_a_newer_version_is_kept_and_unknown(
    store: Store, database_url: str
) -> None:
    class FutureEvent(Event, tag="future.happened"):
        what: str

    await store.append([change("agent-a1", FutureEvent(what="new"), expected=0)], ME)

    [recorded] = await store.read_all(after=0)
    assert recorded.type == "future.happened"
    assert isinstance(recorded.event, Unknown)
    assert recorded.event.fields == {"type": "future.happened", "what": "new"}
    assert recorded.data == b'{"type":"future.happened","what":"new"}'


async def test_what_cannot_be_stored_fails_alone(store: Store) -> None:
    """A lone surrogate is no text: its caller hears of it, its neighbours do not."""
    bad = Meta(actor="\ud800", workspace_id="w1", command_id="c1")
    outcomes = await asyncio.gather(
        store.append([change("agent-a1", created(), expected=0)], ME),
        store.append([change("agent-a2", created(), expected=0)], bad),
        store.append([change("agent-a3", created(), expected=0)], ME),
        return_exceptions=True,
    )

    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, False]
    assert [each.stream for each in await store.read_all(after=0)] == ["agent-a1", "agent-a3"]


async def test_any_text_is_stored_as_it_is(store: Store) -> None:
    """Whatever separates values on their way to the database."""
    odd = Meta(actor="a\x1fb", workspace_id="", command_id="\x1f", correlation_id="ü\n,{}\"'")
    stream = "agent-\x1f"

    await asyncio.gather(
        store.append([change(stream, created(), expected=0)], odd),
        store.append([change("agent-a2", created(), line(1), expected=0)], ME),
    )

    [recorded] = await store.read(stream)
    assert (recorded.actor, recorded.workspace_id, recorded.command_id) == ("a\x1fb", "", "\x1f")
    assert recorded.correlation_id == "ü\n,{}\"'"
    assert await store.head() == 2


async def test_a_caller_that_gives_up_disturbs_nobody(store: Store) -> None:
    appends = [
        asyncio.ensure_future(store.append([change(f"agent-{n}", created(), expected=0)], ME))
        for n in range(20)
    ]
    await asyncio.sleep(0)
    for given_up in appends[::2]:
        given_up.cancel()

    outcomes = await asyncio.gather(*appends, return_exceptions=True)

    done = [each for each in outcomes if not isinstance(each, BaseException)]
    assert len(done) == 10
    positions = [each.position for each in await store.read_all(after=0)]
    assert positions == list(range(1, len(positions) + 1))
    streams = {each.stream for each in await store.read_all(after=0)}
    assert {f"agent-{n}" for n in range(1, 20, 2)} <= streams


async def test_closing_commits_what_was_accepted(store: Store) -> None:
    appends = [
        asyncio.ensure_future(store.append([change(f"agent-{n}", created(), expected=0)], ME))
        for n in range(30)
    ]
    await asyncio.sleep(0)

    await store.close()

    assert {(await append).position for append in appends} == set(range(1, 31))


async def test_whoever_asked_hears_of_each_append_after_its_commit(store: Store) -> None:
    heard: list[int] = []
    done = asyncio.Event()

    def hear(position: int) -> None:
        heard.append(position)
        if len(heard) == 10:
            done.set()

    store.on_commit(lambda appended: hear(appended.position))
    for number in range(10):
        await store.append([change(f"agent-{number}", created(), expected=0)], ME)

    async with asyncio.timeout(5):
        await done.wait()
    assert heard == list(range(1, 11))


async def test_who_tells_of_an_append_is_told_before_whoever_made_it_goes_on(store: Store) -> None:
    order: list[str] = []
    store.on_commit(lambda _: order.append("told"))

    await store.append([change("agent-1", created(), expected=0)], ME)

    order.append("went on")
    assert order == ["told", "went on"]


def _name(name: str, id: str) -> Reservation:
    return Reservation(scope="w1", kind="agent", name=name, id=id)
