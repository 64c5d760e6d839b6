"""What the domain needs of the world; `adapters/` implements it, held to it by contract tests."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from domain.decider import Event, Recorded
from domain.jobs import Job


class Meta(Struct, frozen=True, kw_only=True):
    """The envelope of a command: who, on whose behalf, and what caused it.

    command_id: the idempotency key, or an id made for this command.
    correlation_id: the request that it goes back to.
    causation_id: the command that led to it; of a request's own, its place in a trace if it has one
    (a W3C `traceparent`), from which the work that it asks for goes on.
    """

    actor: str
    workspace_id: str
    command_id: str
    correlation_id: str = ""
    causation_id: str = ""


class TakeLease(Struct, frozen=True, kw_only=True):
    """Hold the stream's work from this append on, for `seconds` unless renewed."""

    owner: str
    seconds: float
    address: str = ""


class DropLease(Struct, frozen=True):
    """Nobody holds the stream's work any more, and nobody has to."""


class Change(Struct, frozen=True, kw_only=True):
    """What one append does to one stream.

    events: folding events and entries, in order. May be empty.
    expected: the stream's folding version that the decision was based on (0: no folding event yet);
        None: whatever it is (entries, facts that cannot conflict).
    attempt: the attempt on whose behalf a worker writes; the append is `Fenced` unless it is the
        stream's current one. None: not a worker's append.
    fence: the stream's attempt from now on: a claim sets its own, a takeover the next one.
    """

    stream: str
    events: Sequence[Event] = ()
    expected: int | None = None
    attempt: int | None = None
    fence: int | None = None
    lease: TakeLease | DropLease | None = None


class Reservation(Struct, frozen=True, kw_only=True):
    """A name for an id, unique by (scope, kind, name). `id` empty: give the name back.

    scope: a workspace or organization id, or empty for the whole installation.
    """

    scope: str
    kind: str
    name: str
    id: str


class Answer(Struct, frozen=True, kw_only=True):
    """What an idempotent command answers when it is sent again: stored with what it did.

    scope: whose idempotency keys these are (an organization or workspace id).
    body_hash: SHA-256 of what was asked for, hex.
    body: the answer, as the caller's edge wants it.
    """

    scope: str
    key: str
    body_hash: str
    body: bytes


class Appended(Struct, frozen=True, kw_only=True):
    """What an append wrote. `position`: the log's head after it (its own last, if it has any)."""

    position: int
    recorded: Sequence[Recorded[Any]]


class StreamHead(Struct, frozen=True, kw_only=True):
    """A stream's folding events, and what its next append has to expect."""

    events: Sequence[Recorded[Any]]
    folding_version: int
    version: int
    attempt: int


NOTHING = StreamHead(events=(), folding_version=0, version=0, attempt=0)
"""The head of a stream that has nothing yet."""


class EventStore(Protocol):
    """The log. Contract: tests/contracts/test_event_store*.py, on SQLite and PostgreSQL."""

    async def append(
        self,
        changes: Sequence[Change],
        meta: Meta,
        *,
        reservations: Sequence[Reservation] = (),
        answer: Answer | None = None,
    ) -> Appended:
        """Do all of it or nothing, durably (fsync) before it returns.

        Raises VersionConflict (an expectation failed: read again and retry), Fenced (another
        attempt holds the stream: stop), NameTaken (a reservation is somebody else's),
        AlreadyAnswered (`answer.key` was used: read it with `answered`), Unavailable (the database
        cannot be reached or the disk is full: nothing was written, or it cannot be known; sending
        the same command id again is safe).
        """
        ...

    async def load(self, stream: str) -> StreamHead:
        """Return a stream's folding events; an empty head for a stream that has none."""
        ...

    async def read(
        self, stream: str, *, after: int = 0, limit: int = 1000, backwards: bool = False
    ) -> list[Recorded[Any]]:
        """Return folding events and entries of one stream by version, `after` excluded."""
        ...

    async def read_all(
        self, *, after: int, limit: int = 1000, types: Sequence[str] | None = None
    ) -> list[Recorded[Any]]:
        """Return folding events by position, without gaps unless `types` filters them."""
        ...

    async def head(self) -> int:
        """Return the log's last position, 0 when it is empty."""
        ...

    async def resolve(self, scope: str, kind: str, name: str) -> str | None:
        """Return the id that a name is reserved for."""
        ...

    async def names(self, scope: str, kind: str) -> Mapping[str, str]:
        """Return all names of a kind in a scope, with their ids."""
        ...

    async def answered(self, scope: str, key: str, body_hash: str) -> bytes | None:
        """Return the stored answer, None if the key is new. Raises IdempotencyMismatch."""
        ...

    def follow(
        self,
        *,
        after: int,
        batch: int = 1000,
        types: Sequence[str] | None = None,
        gather: float = 0.0,
        hurried: bool = False,
    ) -> AsyncIterator[list[Recorded[Any]]]:
        """Yield batches of folding events from `after` on, for ever: woken by hints (`gather`
        seconds after one; with `hurried`, sooner when somebody waits for what this follower does),
        and by a poll of its own (1 s) when none comes. Never skips a position.
        """
        ...

    async def close(self) -> None:
        """Finish what was accepted, then let go of the database."""
        ...


class Held(Struct, frozen=True, kw_only=True):
    """A row of `leases`: work on one stream.

    owner: empty when the work was asked for, and not claimed yet.
    attempt: the owner's; of unclaimed work, how many attempts there were before.
    """

    stream: str
    owner: str
    attempt: int
    expires_at: datetime
    address: str = ""
    after: str = ""


class Leases(Protocol):
    """Who works on what. Rows are taken and dropped by appends (`Change.lease`) and kept here.

    All times are the database's. Contract: tests/contracts/test_leases.py.
    """

    async def offer(self, jobs: Sequence[Job], *, follower: str, position: int) -> list[Job]:
        """Record work that facts asked for, and that `follower` has read the log up to `position`,
        in one transaction. Returns what has to be enqueued: not what is held, parked or known.

        A row offered and not claimed within 5 s counts as expired. A parked row (`job.after`)
        never expires until `release`."""
        ...

    async def release(self, stream: str, *, follower: str, position: int) -> list[Held]:
        """Let the work that waited for `stream` start; returns it, for the queue."""
        ...

    async def progress(self, follower: str) -> int:
        """Return the position up to which a follower has read, 0 for a new one."""
        ...

    async def renew(self, owner: str, seconds: float) -> set[str]:
        """Extend all of an owner's leases; returns the streams that it still holds."""
        ...

    async def held(self, stream: str) -> Held | None:
        """Return the row of one stream."""
        ...

    async def expired(self, limit: int = 100) -> list[Held]:
        """Return rows that ran out, oldest first: unclaimed work, and work whose owner is lost."""
        ...

    async def postpone(self, streams: Sequence[str], seconds: float) -> None:
        """Give unclaimed work that was enqueued again more time."""
        ...

    async def drop(self, stream: str, attempt: int) -> None:
        """Forget work that turned out to be done, unless a later attempt holds it."""
        ...

    async def lead(self, role: str, owner: str, seconds: float) -> bool:
        """Take or renew the leadership of a single-leader loop; False while another has it."""
        ...

    async def resign(self, role: str, owner: str) -> None:
        """Give a leadership up at once."""
        ...


class JobQueue(Protocol):
    """Hints that there is work. Losing one costs seconds, never the work.

    Contract: tests/contracts/test_job_queue.py, on fakeredis and a real server.
    """

    async def enqueue(self, jobs: Sequence[Job], *, again: bool = False) -> None:
        """Tell the workers; a job id that is queued, or was handed over just now, is not told twice
        unless the caller knows that nobody took the work (`again`)."""
        ...


type Frame = tuple[str, int, bytes]
"""A live item: stream, version (0: a delta, which is never stored), encoded JSON object."""


class LiveStreams(Protocol):
    """What happens in runs and builds, as it happens. Hints: SQL has the truth.

    Contract: tests/contracts/test_live_streams.py, on fakeredis and a real server.
    """

    async def publish(self, frames: Sequence[Frame]) -> None:
        """Send frames to whoever follows their streams. Failing is not an error of the caller's."""
        ...

    def follow(self) -> AsyncGenerator[list[Frame]]:
        """Yield the frames of all streams from now on; one reader a process fans them out."""
        ...

    async def wake(self, position: int) -> None:
        """Say that the log has grown."""
        ...

    def wakes(self) -> AsyncIterator[int]:
        """Yield positions as they are said, and 0 where a list waits; may miss some."""
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...


class Blobs(Protocol):
    """Bytes by their SHA-256 (`sha256:<hex>`). Contract: tests/contracts/test_blobs.py.

    What is read is checked against its digest. All raise Unavailable where the store fails or is
    full, and then leave nothing partial behind; reading raises NotFound.
    """

    async def put(self, data: bytes) -> str:
        """Store durably; returns the digest. Storing twice is free."""
        ...

    async def put_all(self, items: Sequence[bytes]) -> list[str]:
        """Store several durably, faster than one by one; returns their digests in order."""
        ...

    async def put_file(self, path: Path) -> str:
        """Store a regular file (links are refused) of any size; returns the digest."""
        ...

    async def get(self, digest: str) -> bytes:
        """Return the bytes."""
        ...

    async def get_all(self, digests: Sequence[str]) -> list[bytes]:
        """Return several, in order."""
        ...

    async def fetch(self, digest: str, into: Path) -> None:
        """Write the bytes to a file of this machine. When it raises, the file must not be used."""
        ...

    def stream(self, digest: str) -> AsyncGenerator[bytes]:
        """Yield the bytes in pieces of at most 1 MiB; raises at the end if they were damaged."""
        ...

    def part(self, digest: str, start: int, stop: int) -> AsyncGenerator[bytes]:
        """Yield the bytes from `start` to before `stop` in such pieces, fewer if there are fewer.

        They are not checked: a part does not tell the digest of the whole.
        """
        ...

    async def size(self, digest: str) -> int:
        """Return how many bytes there are."""
        ...

    async def has(self, digests: Sequence[str]) -> set[str]:
        """Return those of the digests that are stored."""
        ...
