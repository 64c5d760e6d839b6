"""From a command to stored facts: load, fold, decide, append; again if somebody else was first."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from msgspec import Struct
from msgspec.structs import replace

from domain.decider import Decider, Event, Recorded
from domain.errors import (
    AlreadyAnswered,
    ArgosyError,
    KeyInUse,
    NameTaken,
    VersionConflict,
)
from domain.ids import stream_name
from domain.ports import (
    NOTHING,
    Answer,
    Appended,
    Change,
    DropLease,
    EventStore,
    Meta,
    Reservation,
    StreamHead,
    TakeLease,
)

ATTEMPTS = 10  # in one process units of one key queue up, so only other processes collide


class Idempotency(Struct, frozen=True, kw_only=True):
    """The key under which a caller sends a command, and the hash of what it asked for."""

    scope: str
    key: str
    body_hash: str


class Unit:
    """One append in the making: decisions on several streams, all or nothing.

    A decision sees what was decided before it in the same unit.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._heads: dict[str, StreamHead] = {}
        self._changes: dict[str, Change] = {}
        self._reservations: list[Reservation] = []

    @property
    def changes(self) -> Sequence[Change]:
        """What is going to be appended."""
        return list(self._changes.values())

    @property
    def reservations(self) -> Sequence[Reservation]:
        """The names that go with it."""
        return self._reservations

    async def resolve(self, scope: str, kind: str, name: str) -> str | None:
        """Return the id that a name stands for, reservations of this unit included."""
        for each in reversed(self._reservations):
            if (each.scope, each.kind, each.name) == (scope, kind, name):
                return each.id or None
        return await self._store.resolve(scope, kind, name)

    async def state[C, S, E: Event](self, decider: Decider[C, S, E], id: str) -> S:
        """Return the state of one stream, decisions of this unit included."""
        stream = stream_name(decider.category, id)
        head = await self._head(stream)
        state = decider.fold(recorded.event for recorded in head.events)
        change = self._changes.get(stream)
        # The events of a stream are its category's own, as the registry decoded them.
        decided: Sequence[Any] = change.events if change else ()
        return decider.fold(decided, state)

    def begin(self, category: str, id: str) -> None:
        """Say that a stream is new, as its id was just made: it is not read first."""
        self.assume(stream_name(category, id), NOTHING)

    def assume(self, stream: str, head: StreamHead) -> None:
        """Decide on what was read of a stream just now; if it is more by then, the append fails."""
        self._heads[stream] = head

    async def length(self, category: str, id: str) -> int:
        """Return how many folding events one stream has, decisions of this unit included."""
        stream = stream_name(category, id)
        head = await self._head(stream)
        change = self._changes.get(stream)
        return len(head.events) + (len(change.events) if change else 0)

    async def decide[C, S, E: Event](
        self,
        decider: Decider[C, S, E],
        id: str,
        command: C,
        *,
        attempt: int | None = None,
        fence: int | None = None,
        lease: TakeLease | DropLease | None = None,
    ) -> list[E]:
        """Add a decision; raises the decider's refusal. Returns the new events."""
        stream = stream_name(decider.category, id)
        events = decider.decide(command, await self.state(decider, id))
        head = await self._head(stream)
        change = self._changes.get(stream, Change(stream=stream, expected=head.folding_version))
        self._changes[stream] = replace(
            change,
            events=[*change.events, *events],
            attempt=change.attempt if attempt is None else attempt,
            fence=change.fence if fence is None else fence,
            lease=change.lease if lease is None else lease,
        )
        return events

    def reserve(self, scope: str, kind: str, name: str, id: str) -> None:
        """Take a name for an id; an empty id gives the name back."""
        self._reservations.append(Reservation(scope=scope, kind=kind, name=name, id=id))

    async def _head(self, stream: str) -> StreamHead:
        if stream not in self._heads:
            self._heads[stream] = await self._store.load(stream)
        return self._heads[stream]


class Done[T](Struct, frozen=True):
    """What a unit returned, and what was appended for it."""

    value: T
    appended: Appended


class Once(Struct, frozen=True):
    """A command's answer. `recorded`: what it appended; empty where the answer is an older one."""

    body: bytes
    position: int
    recorded: Sequence[Recorded[Any]]


class Commands:
    """The one way by which anything is decided and stored."""

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def send[C, S, E: Event](
        self,
        decider: Decider[C, S, E],
        id: str,
        command: C,
        meta: Meta,
        *,
        attempt: int | None = None,
        fence: int | None = None,
        lease: TakeLease | DropLease | None = None,
    ) -> Appended:
        """Decide one command on one stream and append what happens. Raises its refusal."""

        async def work(unit: Unit) -> None:
            await unit.decide(decider, id, command, attempt=attempt, fence=fence, lease=lease)

        done = await self.run(work, meta, key=stream_name(decider.category, id))
        return done.appended

    async def run[T](
        self,
        work: Callable[[Unit], Awaitable[T]],
        meta: Meta,
        *,
        key: str,
        answer: Callable[[T], Answer] | None = None,
    ) -> Done[T]:
        """Append what `work` decides, again from the start if somebody else was first.

        key: units of one key queue up within this process; it names what they all change.
        answer: the stored answer for an idempotent command.
        Raises AlreadyAnswered, NameTaken or VersionConflict when all attempts collided.
        """
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            for left in reversed(range(ATTEMPTS)):
                unit = Unit(self.store)
                value = await work(unit)
                try:
                    appended = await self.store.append(
                        unit.changes,
                        meta,
                        reservations=unit.reservations,
                        answer=answer(value) if answer else None,
                    )
                except (VersionConflict, NameTaken):
                    if not left:
                        raise
                    continue
                return Done(value, appended)
        raise AssertionError

    async def run_once(
        self,
        work: Callable[[Unit], Awaitable[bytes]],
        meta: Meta,
        *,
        key: str,
        idempotency: Idempotency | None,
    ) -> tuple[bytes, int]:
        """As `do_once`; returns the answer and the log's position."""
        once = await self.do_once(work, meta, key=key, idempotency=idempotency)
        return once.body, once.position

    async def do_once(
        self,
        work: Callable[[Unit], Awaitable[bytes]],
        meta: Meta,
        *,
        key: str,
        idempotency: Idempotency | None,
    ) -> Once:
        """As `run`, at most once per idempotency key.

        A key that was used gives the answer of then, even if the command would be refused by now.
        Raises IdempotencyMismatch when the key was used with another body.
        """
        if idempotency is None:
            done = await self.run(work, meta, key=key)
            return Once(done.value, done.appended.position, done.appended.recorded)
        scope, used, body_hash = idempotency.scope, idempotency.key, idempotency.body_hash

        def answer(body: bytes) -> Answer:
            return Answer(scope=scope, key=used, body_hash=body_hash, body=body)

        # Most keys are new, and the append looks at the key anyway: it is not read first.
        try:
            done = await self.run(work, meta, key=key, answer=answer)
        except ArgosyError as refusal:
            stored = await self.store.answered(scope, used, body_hash)
            if stored is not None:
                return Once(stored, await self.store.head(), ())
            if isinstance(refusal, AlreadyAnswered):
                raise KeyInUse(
                    f"Idempotency key {used} is in use by a request under way; send it again."
                ) from None
            raise
        return Once(done.value, done.appended.position, done.appended.recorded)
