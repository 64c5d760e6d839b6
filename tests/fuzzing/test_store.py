"""Any appends in any order, on both databases: the log is what a dictionary and a list would be."""

import asyncio
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from adapters.event_store.store import Store, open_store
from domain.agents import AgentArchived, AgentCreated
from domain.decider import Event, Recorded
from domain.entries import LogWritten
from domain.errors import ArgosyError, IdempotencyMismatch
from domain.ports import Answer, Appended, Change, DropLease, Meta, Reservation, TakeLease
from tests.fuzzing.effort import examples, is_long
from tests.fuzzing.models import Model, Stream

ME = Meta(actor="key:k1", workspace_id="w1", command_id="c1")
STEPS = 12

streams = st.sampled_from(["run-1", "run-2", "build-1"])
texts = st.text(st.characters(codec="utf-8"), max_size=12)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(AgentCreated, agent_id=st.just("a"), workspace_id=st.just("w1"), name=texts),
    st.builds(LogWritten, stream=st.just("stdout"), line=texts),
    st.builds(AgentArchived, agent_id=texts),
)
leases = (
    st.none()
    | st.builds(TakeLease, owner=st.sampled_from(["o1", "o2"]), seconds=st.just(60.0))
    | st.builds(DropLease)
)
names = st.sampled_from(["x", "y"])
ids = st.sampled_from(["", "1", "2"])
keys = st.sampled_from(["k1", "k2", "k3"])
off = st.sampled_from([0, 0, 0, 0, 1, -1])


class Log(RuleBasedStateMachine):
    """A store beside a model of it. The database is shared: each machine has names of its own."""

    url: ClassVar[str]
    made: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        Log.made += 1
        self.prefix = f"m{Log.made}"
        self.runner = asyncio.Runner()
        self.store: Store = self.runner.run(open_store(self.url))
        self.model = Model(self.runner.run(self.store.head()))

    def teardown(self) -> None:
        """Close everything."""
        self.runner.run(self.store.close())
        self.runner.close()

    @rule(
        asked=st.lists(
            st.tuples(streams, st.lists(events, max_size=3), st.booleans(), off, off, leases),
            max_size=3,
            unique_by=lambda each: each[0],
        ),
        fences=st.booleans(),
        reserved=st.lists(st.tuples(names, ids), max_size=2),
        key=st.none() | keys,
    )
    def append(
        self,
        asked: list[tuple[str, list[Event], bool, int, int, Any]],
        fences: bool,
        reserved: list[tuple[str, str]],
        key: str | None,
    ) -> None:
        """Append to several streams, with right and wrong expectations."""
        changes = [
            self._change(name, made, wrong, attempt if is_worker else None, fences, lease)
            for name, made, is_worker, wrong, attempt, lease in asked
        ]
        reservations = [
            Reservation(scope=self.prefix, kind="agent", name=name, id=id) for name, id in reserved
        ]
        answer = self._answer(key) if key else None
        allowed = self.model.refusals(changes, reservations, answer)
        before = self.runner.run(self.store.head())
        appended = Appended(position=0, recorded=[])
        try:
            appended = self.runner.run(
                self.store.append(changes, ME, reservations=reservations, answer=answer)
            )
        except ArgosyError as refusal:
            refused = type(refusal)
        else:
            refused = None
        if allowed:
            assert refused in allowed
            assert self.runner.run(self.store.head()) == before
            return
        assert refused is None
        self.model.append(changes, reservations, answer)
        assert [each.event for each in appended.recorded] == [
            event for change in changes for event in change.events
        ]
        assert appended.position == self.model.base + len(self.model.log)

    @rule(stream=streams, page=st.integers(1, 4), backwards=st.booleans())
    def read_a_stream(self, stream: str, page: int, backwards: bool) -> None:
        """Page through a stream, from either end."""
        found: list[Recorded[Any]] = []
        after = 0
        while True:
            read = self.store.read(self._name(stream), after=after, limit=page, backwards=backwards)
            some = self.runner.run(read)
            found += some
            if len(some) < page:
                break
            after = some[-1].version
            if backwards and after == 1:
                break
        known = [
            (number, position, event)
            for number, (position, event) in enumerate(self._stream(stream).events, 1)
        ]
        wanted = known[::-1] if backwards else known
        assert [(each.version, each.position, each.event) for each in found] == wanted

    @rule(page=st.integers(1, 5), types=st.none() | st.sets(st.sampled_from(["agent.created"])))
    def read_the_log(self, page: int, types: set[str] | None) -> None:
        """Page through the log since this machine began."""
        found: list[Recorded[Any]] = []
        after = self.model.base
        while some := self.runner.run(
            self.store.read_all(after=after, limit=page, types=None if types is None else [*types])
        ):
            found += some
            after = found[-1].position or 0
        wanted = [
            (self._name(stream, of_model=True), position, event)
            for position, (stream, event) in enumerate(self.model.log, self.model.base + 1)
            if types is None or event.tag() in types
        ]
        assert [(each.stream, each.position, each.event) for each in found] == wanted

    @rule(key=keys, hash=st.sampled_from(["h1", "h2"]))
    def ask_for_an_answer(self, key: str, hash: str) -> None:
        """Ask what a command was answered."""
        stored = self.model.answers.get((self.prefix, key))
        asked = self.store.answered(self.prefix, key, hash)
        if stored is None:
            assert self.runner.run(asked) is None
        elif stored[0] == hash:
            assert self.runner.run(asked) == stored[1]
        else:
            with pytest.raises(IdempotencyMismatch):
                self.runner.run(asked)

    @rule()
    def open_again(self) -> None:
        """Nothing depends on what the process remembers."""
        self.runner.run(self.store.close())
        self.store = self.runner.run(open_store(self.url))

    @invariant()
    def heads_names_and_leases_agree(self) -> None:
        """What the next append is held against is what the model says."""
        for stream in ("run-1", "run-2", "build-1"):
            known, name = self._stream(stream), self._name(stream)
            head = self.runner.run(self.store.load(name))
            assert [each.event for each in head.events] == [
                event for position, event in known.events if position is not None
            ]
            assert (head.version, head.folding_version, head.attempt) == (
                len(known.events),
                known.folding,
                known.attempt,
            )
            held = self.runner.run(self.store.leases.held(name))
            assert (held.owner if held else None) == known.owner
        kept = {name: id for (_, _, name), id in self.model.names.items()}
        assert self.runner.run(self.store.names(self.prefix, "agent")) == kept

    def _change(
        self,
        name: str,
        made: list[Event],
        wrong: int,
        attempt: int | None,
        fences: bool,
        lease: Any,
    ) -> Change:
        stream = self._stream(name)
        return Change(
            stream=self._name(name),
            events=made,
            expected=None if wrong == -1 else stream.folding + wrong,
            attempt=None if attempt is None else stream.attempt + attempt,
            fence=stream.attempt + 1 if fences and made else None,
            lease=lease,
        )

    def _answer(self, key: str) -> Answer:
        body = f"answer {len(self.model.log)}".encode()
        return Answer(scope=self.prefix, key=key, body_hash="h1", body=body)

    def _stream(self, name: str) -> Stream:
        return self.model.streams.get(self._name(name)) or Stream()

    def _name(self, name: str, *, of_model: bool = False) -> str:
        category, _, id = name.partition("-")
        return name if of_model else f"{category}-{self.prefix}-{id}"


@pytest.mark.timeout(0 if is_long() else 180)
def test_the_log_is_what_a_list_would_be(database_url: str) -> None:
    Log.url = database_url
    run_state_machine_as_test(
        Log, settings=settings(max_examples=examples(12), stateful_step_count=STEPS, deadline=None)
    )
