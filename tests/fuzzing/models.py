"""What a log should be, as plain Python: dictionaries and lists, checked in the order promised."""

from collections.abc import Sequence

from domain.decider import Event
from domain.errors import (
    AlreadyAnswered,
    ArgosyError,
    Fenced,
    NameTaken,
    VersionConflict,
)
from domain.ports import Answer, Change, DropLease, Reservation, TakeLease
from domain.registry import ENTRY_TYPES


class Stream:
    """Events in order, and what appends are held against."""

    def __init__(self) -> None:
        self.events: list[tuple[int | None, Event]] = []
        self.folding = 0
        self.attempt = 0
        self.owner: str | None = None


class Model:
    """The log. `append` says what must come of it, and does it if it is to be done."""

    def __init__(self, base: int) -> None:
        self.base = base  # where the log stood before
        self.streams: dict[str, Stream] = {}
        self.log: list[tuple[str, Event]] = []
        self.names: dict[tuple[str, str, str], str] = {}
        self.answers: dict[tuple[str, str], tuple[str, bytes]] = {}

    def refusals(
        self,
        changes: Sequence[Change],
        reservations: Sequence[Reservation],
        answer: Answer | None,
    ) -> set[type[ArgosyError]]:
        """Return why this cannot be appended: any of these may be said, none if it can."""
        found: set[type[ArgosyError]] = set()
        if answer and (answer.scope, answer.key) in self.answers:
            found.add(AlreadyAnswered)
        for change in changes:
            stream = self.streams.get(change.stream) or Stream()
            if change.expected is not None and change.expected != stream.folding:
                found.add(VersionConflict)
            if change.attempt is not None and change.attempt != stream.attempt:
                found.add(Fenced)
        names = dict(self.names)
        for wanted in reservations:
            place = (wanted.scope, wanted.kind, wanted.name)
            if wanted.id and names.get(place, wanted.id) != wanted.id:
                found.add(NameTaken)
            names[place] = wanted.id
            if not wanted.id:
                names.pop(place)
        return found

    def append(
        self,
        changes: Sequence[Change],
        reservations: Sequence[Reservation],
        answer: Answer | None,
    ) -> None:
        """Do it."""
        for change in changes:
            stream = self.streams.setdefault(change.stream, Stream())
            for event in change.events:
                is_entry = event.tag() in ENTRY_TYPES
                if not is_entry:
                    self.log.append((change.stream, event))
                    stream.folding += 1
                stream.events.append((None if is_entry else self.base + len(self.log), event))
            stream.attempt = stream.attempt if change.fence is None else change.fence
            match change.lease:
                case TakeLease(owner=owner):
                    stream.owner = owner
                case DropLease():
                    stream.owner = None
                case None:
                    pass
        for wanted in reservations:
            place = (wanted.scope, wanted.kind, wanted.name)
            self.names[place] = wanted.id
            if not wanted.id:
                self.names.pop(place)
        if answer:
            self.answers[answer.scope, answer.key] = (answer.body_hash, answer.body)
