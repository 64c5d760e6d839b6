"""Who works on what: the rows that appends take and drop, kept, offered and swept here."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from adapters.event_store.backend import Database
from adapters.event_store.read import LAST_FOLDING, recorded
from adapters.event_store.scripts import Script
from domain.jobs import Job, Release, jobs_for
from domain.ports import Held

CLAIM_SECONDS = 5.0  # how long offered work may wait for a worker before it is offered again

_HELD = "stream, owner, attempt, expires_at, address, waits_for"

# What is held, or was offered for the same fact before, stays as it is.
_OFFER = """
INSERT INTO leases (stream, job_id, owner, attempt, expires_at, address, waits_for)
VALUES ($1, $2, '', $3, now_us() + $4, '', $5)
ON CONFLICT (stream) DO UPDATE SET job_id = excluded.job_id, owner = '',
    attempt = excluded.attempt, expires_at = excluded.expires_at, address = '',
    waits_for = excluded.waits_for
WHERE leases.job_id <> excluded.job_id AND (leases.owner = '' OR leases.expires_at <= now_us())
RETURNING stream
"""
_ADVANCE = """
INSERT INTO followers (name, position) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET position = excluded.position
WHERE followers.position < excluded.position
"""
# All of these are built of constants.
_RELEASE = f"""
UPDATE leases SET waits_for = '', expires_at = now_us() + $2
WHERE stream IN (SELECT stream FROM leases WHERE waits_for = $1 ORDER BY stream FOR UPDATE)
RETURNING {_HELD}
"""  # noqa: S608
# Rows are always locked in the order of their streams: nobody waits for each other in a circle.
_EXPIRED = f"""
SELECT {_HELD} FROM leases WHERE waits_for = '' AND expires_at <= now_us()
ORDER BY expires_at LIMIT $1
"""  # noqa: S608
_FIND = f"SELECT {_HELD} FROM leases WHERE stream = $1"  # noqa: S608
_RENEW = """
UPDATE leases SET expires_at = now_us() + $2
WHERE stream IN (SELECT stream FROM leases WHERE owner = $1 ORDER BY stream FOR UPDATE)
RETURNING stream
"""
_POSTPONE = """
UPDATE leases SET expires_at = now_us() + $2 WHERE stream = $1 AND owner = '' AND waits_for = ''
"""
_LEAD = """
INSERT INTO leaders (role, owner, expires_at) VALUES ($1, $2, now_us() + $3)
ON CONFLICT (role) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
WHERE leaders.owner = excluded.owner OR leaders.expires_at <= now_us()
RETURNING role
"""


class SqlLeases:
    """`Leases` in the log's own database, so that a claim and its lease are one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def offer(self, jobs: Sequence[Job], *, follower: str, position: int) -> list[Job]:
        """Record work that facts asked for; see `Leases`.

        Work is parked only while the stream it waits for has not ended yet: the fact that ends it
        may be older than the one that waits for it, and would then release nothing.
        """
        return await self._database.transact(_offer(jobs, follower, position))

    async def release(self, stream: str, *, follower: str, position: int) -> list[Held]:
        """Let the work that waited for `stream` start; see `Leases`."""
        return await self._database.transact(_release(stream, follower, position))

    async def progress(self, follower: str) -> int:
        """Return the position up to which a follower has read, 0 for a new one."""
        text = "SELECT position FROM followers WHERE name = $1"
        rows = await self._database.fetch(text, (follower,))
        return rows[0][0] if rows else 0

    async def renew(self, owner: str, seconds: float) -> set[str]:
        """Extend all of an owner's leases; returns the streams that it still holds."""
        rows = await self._database.transact(_one(_RENEW, owner, _microseconds(seconds)))
        return {row[0] for row in rows}

    async def held(self, stream: str) -> Held | None:
        """Return the row of one stream."""
        rows = await self._database.fetch(_FIND, (stream,))
        return _held(rows[0]) if rows else None

    async def expired(self, limit: int = 100) -> list[Held]:
        """Return rows that ran out, oldest first."""
        return [_held(row) for row in await self._database.fetch(_EXPIRED, (limit,))]

    async def postpone(self, streams: Sequence[str], seconds: float) -> None:
        """Give unclaimed work that was enqueued again more time."""
        await self._database.transact(_postpone(streams, _microseconds(seconds)))

    async def drop(self, stream: str, attempt: int) -> None:
        """Forget work that turned out to be done: unclaimed, or held by `attempt` or before."""
        text = "DELETE FROM leases WHERE stream = $1 AND (owner = '' OR attempt <= $2)"
        await self._database.transact(_one(text, stream, attempt))

    async def lead(self, role: str, owner: str, seconds: float) -> bool:
        """Take or renew a leadership; False while another has it."""
        rows = await self._database.transact(_one(_LEAD, role, owner, _microseconds(seconds)))
        return bool(rows)

    async def resign(self, role: str, owner: str) -> None:
        """Give a leadership up at once."""
        text = "DELETE FROM leaders WHERE role = $1 AND owner = $2"
        await self._database.transact(_one(text, role, owner))


def _offer(jobs: Sequence[Job], follower: str, position: int) -> Script[list[Job]]:
    enqueue: set[Job] = set()
    wait = _microseconds(CLAIM_SECONDS)
    # In the order of their streams, so that two dispatchers cannot wait for each other.
    for job in sorted(jobs, key=lambda job: job.stream):
        after = job.after
        if after:
            rows = yield LAST_FOLDING, (after,)
            if rows and Release(after) in jobs_for(recorded(rows)[0]):
                after = ""
        taken = yield _OFFER, (job.stream, job.id, _attempts_before(job), wait, after)
        if taken and not after:
            enqueue.add(job)
    yield _ADVANCE, (follower, position)
    return [job for job in jobs if job in enqueue]


def _attempts_before(job: Job) -> int:
    """Return how many attempts the stream had when this one was asked for: its id counts them.

    So the row of unclaimed work says which job it is, whether or not the lost one left a row.
    """
    _, _, number = job.id.rpartition("-")
    return int(number) - 1 if number.isdecimal() else 0


def _release(stream: str, follower: str, position: int) -> Script[list[Held]]:
    rows = yield _RELEASE, (stream, _microseconds(CLAIM_SECONDS))
    # It has ended: an offer of it that nobody claimed is void.
    yield "DELETE FROM leases WHERE stream = $1 AND owner = ''", (stream,)
    yield _ADVANCE, (follower, position)
    return [_held(row) for row in rows]


def _postpone(streams: Sequence[str], microseconds: int) -> Script[None]:
    for stream in sorted(streams):
        yield _POSTPONE, (stream, microseconds)


def _one(text: str, *values: str | int) -> Script[Sequence[Sequence[Any]]]:
    rows = yield text, values
    return rows


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _held(row: Sequence[Any]) -> Held:
    stream, owner, attempt, expires_at, address, after = row
    return Held(
        stream=stream,
        owner=owner,
        attempt=attempt,
        expires_at=datetime.fromtimestamp(expires_at / 1_000_000, UTC),
        address=address,
        after=after,
    )
