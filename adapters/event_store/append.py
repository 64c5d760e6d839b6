"""Deciding a batch: which appends are accepted, and the rows that they make. Does no I/O.

Both databases commit many callers' appends at once. Each is checked against the state that the ones
before it in the batch lead to; one that is refused leaves nothing behind and fails alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from msgspec import Struct
from prometheus_client import Counter, Histogram

from domain.decider import Event, Recorded
from domain.errors import AlreadyAnswered, ArgosyError, Fenced, NameTaken, VersionConflict
from domain.ports import (
    Answer,
    Appended,
    Change,
    DropLease,
    Meta,
    Reservation,
    TakeLease,
)
from domain.registry import ENTRY_TYPES, SCHEMA_VERSION, encode

type Name = tuple[str, str, str]
"""A reservation's scope, kind and name."""

type Key = tuple[str, str]
"""A command's scope and idempotency key."""

type Row = tuple[str, int, int | None, str, str, int, bytes, int, str, str, str, str]
"""What is inserted into `events`, in the order of `EVENT_COLUMNS`."""

EVENT_COLUMNS = (
    "stream, version, position, workspace_id, type, schema_version, data, at, actor, command_id,"
    " correlation_id, causation_id"
)


COMMITTED = Histogram(
    "argosy_append_batch_appends",
    "Appends that this process committed together; the sum is all its appends.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
WRITTEN = Counter("argosy_events_written_total", "Events and entries that this process appended.")


class Head(NamedTuple):
    """Where a stream stands; all zero when there is no such stream."""

    version: int
    folding_version: int
    attempt: int


NEW = Head(0, 0, 0)


class Lease(NamedTuple):
    """What becomes of a stream's lease; no `owner`: it is dropped."""

    stream: str
    owner: str = ""
    attempt: int = 0
    seconds: float = 0.0
    address: str = ""


class Encoded(NamedTuple):
    """An event and its bytes."""

    event: Event
    type: str
    folds: bool
    data: bytes


class Item(Struct, frozen=True, eq=False):
    """One caller's append, waiting for its batch. `answered` is set when the batch is committed."""

    changes: Sequence[Change]
    events: Sequence[Sequence[Encoded]]
    meta: Meta
    reservations: Sequence[Reservation]
    answer: Answer | None
    answered: asyncio.Future[Appended]


def make_item(
    changes: Sequence[Change],
    meta: Meta,
    reservations: Sequence[Reservation],
    answer: Answer | None,
    answered: asyncio.Future[Appended],
) -> Item:
    """Return an append with its events encoded; what cannot be encoded raises in its caller."""
    events: list[list[Encoded]] = []
    for change in changes:
        encoded: list[Encoded] = []
        for event in change.events:
            tag = event.tag()
            encoded.append(Encoded(event, tag, tag not in ENTRY_TYPES, encode(event)))
        events.append(encoded)
    return Item(changes, events, meta, reservations, answer, answered)


def folds(item: Item) -> bool:
    """Whether an append has a folding event."""
    return any(event.folds for events in item.events for event in events)


class Facts(Protocol):
    """What is in the database when the batch is decided."""

    def head(self, stream: str) -> Head:
        """Return where a stream stands."""
        ...

    def reserved(self, name: Name) -> str:
        """Return the id that a name is reserved for, or an empty string."""
        ...

    def is_answered(self, key: Key) -> bool:
        """Whether a command was done before."""
        ...


class Accepted(NamedTuple):
    """An append that is in the plan: its rows are `rows[first:last]`."""

    item: Item
    first: int
    last: int


class Refused(NamedTuple):
    """An append that is not."""

    item: Item
    error: ArgosyError


class Plan:
    """What a batch writes, gathered append by append.

    rows: events, with positions counted from `base`.
    heads: where the streams that it touches stand after it.
    names: reservations after it; an empty id: given back.
    """

    def __init__(self, facts: Facts, base: int, at: int) -> None:
        self._facts = facts
        self.at = at
        self.position = base
        self.rows: list[Row] = []
        self.events: list[Event] = []
        self.heads: dict[str, Head] = {}
        self.names: dict[Name, str] = {}
        self.answers: dict[Key, Answer] = {}
        self.leases: dict[str, Lease] = {}
        self.accepted: list[Accepted] = []
        self.refused: list[Refused] = []

    @property
    def writes(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.rows or self.heads or self.names or self.answers or self.leases)

    def add(self, item: Item) -> None:
        """Accept an append, or note why it is refused."""
        first, position = len(self.rows), self.position
        heads: dict[str, Head] = {}
        leases: list[Lease] = []
        try:
            if item.answer is not None:
                self._check_answer(item.answer)
            for change, events in zip(item.changes, item.events, strict=True):
                self._change(change, events, item.meta, heads, leases)
            names = self._reserved(item.reservations) if item.reservations else {}
        except ArgosyError as error:
            del self.rows[first:], self.events[first:]
            self.position = position
            self.refused.append(Refused(item, error))
            return
        self.heads |= heads
        self.names |= names
        for lease in leases:
            self.leases[lease.stream] = lease
        if item.answer is not None:
            self.answers[item.answer.scope, item.answer.key] = item.answer
        self.accepted.append(Accepted(item, first, len(self.rows)))

    def _check_answer(self, answer: Answer) -> None:
        key = (answer.scope, answer.key)
        if key in self.answers or self._facts.is_answered(key):
            raise AlreadyAnswered(f"The command {answer.key} was done before.")

    def _change(
        self,
        change: Change,
        events: Sequence[Encoded],
        meta: Meta,
        heads: dict[str, Head],
        leases: list[Lease],
    ) -> None:
        """Add the rows of one change. `heads`, `leases`: what the item has changed so far."""
        stream = change.stream
        before = heads.get(stream) or self.heads.get(stream) or self._facts.head(stream)
        _check_change(change, before)
        version, folding_version, attempt = before
        for event, type_, folds, data in events:
            version += 1
            position = None
            if folds:
                folding_version += 1
                self.position = position = self.position + 1
            row = (
                stream,
                version,
                position,
                meta.workspace_id,
                type_,
                SCHEMA_VERSION,
                data,
                self.at,
                meta.actor,
                meta.command_id,
                meta.correlation_id,
                meta.causation_id,
            )
            self.rows.append(row)
            self.events.append(event)
        if change.fence is not None:
            attempt = change.fence
        if events or attempt != before.attempt:
            heads[stream] = Head(version, folding_version, attempt)
        if change.lease is not None:
            leases.append(_lease(stream, change.lease, attempt))

    def _reserved(self, reservations: Sequence[Reservation]) -> dict[Name, str]:
        names: dict[Name, str] = {}
        for wanted in reservations:
            name = (wanted.scope, wanted.kind, wanted.name)
            held = names.get(name, self.names.get(name))
            if held is None:
                held = self._facts.reserved(name)
            if wanted.id and held and held != wanted.id:
                raise NameTaken(
                    f"The {wanted.kind} name {wanted.name!r} is taken.",
                    id=held,
                    kind=wanted.kind,
                    name=wanted.name,
                )
            if wanted.id != held:
                names[name] = wanted.id
        return names

    def answer(self, *, offset: int, position: int, on_commit: Callable[[Appended], None]) -> None:
        """Tell the callers, on their loop, after the commit.

        offset: what has to be added to the plan's positions. position: the log's head now.
        """
        if self.accepted:
            COMMITTED.observe(len(self.accepted))
            WRITTEN.inc(len(self.rows))
        at = datetime.fromtimestamp(self.at / 1_000_000, UTC)
        for item, first, last in self.accepted:
            last_position = None
            recorded: list[Recorded[Any]] = []
            for row, event in zip(self.rows[first:last], self.events[first:last], strict=True):
                here = row[2]
                if here is not None:
                    here += offset
                    last_position = here
                recorded.append(_recorded(row, here, at, event))
            appended = Appended(
                position=position if last_position is None else last_position, recorded=recorded
            )
            # Whoever tells others is a turn of the loop ahead: who waits for the answer does more.
            on_commit(appended)
            item.answered.get_loop().call_soon(_succeed, item.answered, appended)
        for item, error in self.refused:
            if not item.answered.done():
                item.answered.set_exception(error)


def _succeed(answered: asyncio.Future[Appended], appended: Appended) -> None:
    if not answered.done():
        answered.set_result(appended)


def _check_change(change: Change, head: Head) -> None:
    if change.attempt is not None and change.attempt != head.attempt:
        raise Fenced(
            f"Attempt {change.attempt} of {change.stream} was taken over by {head.attempt}.",
            stream=change.stream,
        )
    if change.expected is not None and change.expected != head.folding_version:
        raise VersionConflict(
            f"{change.stream} is at {head.folding_version}, not at {change.expected}.",
            stream=change.stream,
        )


def _lease(stream: str, lease: TakeLease | DropLease, attempt: int) -> Lease:
    match lease:
        case TakeLease(owner=owner, seconds=seconds, address=address):
            return Lease(stream, owner, attempt, seconds, address)
        case DropLease():
            return Lease(stream)


def _recorded(row: Row, position: int | None, at: datetime, event: Event) -> Recorded[Any]:
    return Recorded(
        stream=row[0],
        version=row[1],
        position=position,
        workspace_id=row[3],
        type=row[4],
        schema_version=row[5],
        at=at,
        actor=row[8],
        command_id=row[9],
        correlation_id=row[10],
        causation_id=row[11],
        data=row[6],
        event=event,
    )
