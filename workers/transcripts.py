"""A transcript on its way into the log: small batches, in order, anchored, never too many waiting.

The first entries are appended at once, later ones 50 ms apart, up to 200 ms when the database is
busy. One writer a stream: only the attempt that holds the run or build appends entries to it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Self

import structlog
from msgspec.structs import replace

from domain.decider import Event, Recorded
from domain.errors import Unavailable, VersionConflict
from domain.handling import Unit
from domain.merkle import Frontier
from domain.ports import Change, EventStore, Meta
from domain.registry import encode
from workers.histories import History, with_entry

ANCHOR_EVERY = 4096  # entries
MAX_BATCH_ENTRIES = 1000
MAX_WAITING_BYTES = 1 << 20
MAX_WAITING_ENTRIES = 8192
SHORTEST_INTERVAL_SECONDS = 0.05
LONGEST_INTERVAL_SECONDS = 0.2
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0

log = structlog.stdlib.get_logger(__name__)

type Anchor = Callable[[Unit, Frontier], Awaitable[object]]
"""Decides the event that anchors the transcript so far."""


class Transcript:
    """Entries of one attempt; appends while it is entered (`async with`).

    While the database is away it waits and tries again, for as long as its task is let live: the
    lease says how long that makes sense. Any other refusal (Fenced) ends it.
    """

    def __init__(
        self,
        store: EventStore,
        stream: str,
        *,
        attempt: int,
        history: History,
        meta: Callable[[], Meta],
        anchor: Anchor | None = None,
    ) -> None:
        self._store = store
        self._stream = stream
        self._attempt = attempt
        self._meta = meta
        self._anchor = anchor
        self._frontier = history.frontier
        self._anchored = history.frontier.count
        self._version = history.version
        self._waiting: list[tuple[Event, int]] = []
        self._waiting_bytes = 0
        self._added = 0
        self._stored = 0
        self._something = asyncio.Event()
        self._progress = asyncio.Event()
        self._hurry = asyncio.Event()
        self._refusal: BaseException | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._over)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def frontier(self) -> Frontier:
        """The tree over all entries that are stored."""
        return self._frontier

    def add(self, entries: Sequence[Event]) -> None:
        """Take entries. Whoever adds many waits for `room` in between."""
        for entry in entries:
            size = len(encode(entry))
            self._waiting.append((entry, size))
            self._waiting_bytes += size
        self._added += len(entries)
        if entries:
            self._something.set()

    async def room(self) -> None:
        """Return when there is room for more. Raises what ended the transcript."""
        while self._refusal is None and self._is_full:
            self._progress.clear()
            await self._progress.wait()
        self._raise_refusal()

    async def flush(self) -> None:
        """Return when everything that was added is stored, without the usual pause before it.

        Raises what ended the transcript.
        """
        added = self._added
        self._hurry.set()
        while self._refusal is None and self._stored < added:
            self._progress.clear()
            await self._progress.wait()
        self._raise_refusal()

    async def store(self, entries: Sequence[Event]) -> None:
        """Take entries and return when they are stored. Raises what ended the transcript."""
        self.add(entries)
        await self.flush()

    @property
    def _is_full(self) -> bool:
        many = len(self._waiting) >= MAX_WAITING_ENTRIES
        return many or self._waiting_bytes >= MAX_WAITING_BYTES

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._refusal = task.exception()
            self._progress.set()

    async def _run(self) -> None:
        while True:
            await self._something.wait()
            batch = self._next_batch()
            started = time.monotonic()
            await self._append_surely(batch)
            took = time.monotonic() - started
            self._stored += len(batch)
            self._progress.set()
            pause = min(max(2 * took, SHORTEST_INTERVAL_SECONDS), LONGEST_INTERVAL_SECONDS)
            await self._rest(max(0.0, pause - took))

    async def _rest(self, seconds: float) -> None:
        """Let entries gather for a while, unless somebody waits for them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    def _next_batch(self) -> list[Event]:
        taken = self._waiting[:MAX_BATCH_ENTRIES]
        del self._waiting[:MAX_BATCH_ENTRIES]
        self._waiting_bytes -= sum(size for _, size in taken)
        if not self._waiting:
            self._something.clear()
            self._hurry.clear()
        self._progress.set()
        return [entry for entry, _ in taken]

    async def _append_surely(self, batch: Sequence[Event]) -> None:
        """Append a batch once, however often the database goes away meanwhile."""
        pause = FIRST_PAUSE_SECONDS
        unsure = False
        while True:
            try:
                if unsure and await self._find_stored():
                    return
                self._count(await self._append(batch))
            except VersionConflict:
                continue  # somebody else's command came between an anchor's reading and writing
            except Unavailable as error:
                log.warning("transcript.waits", stream=self._stream, error=error.detail)
                unsure = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                return

    async def _append(self, batch: Sequence[Event]) -> Sequence[Recorded[Any]]:
        change = Change(stream=self._stream, events=batch, attempt=self._attempt)
        if self._anchor and self._frontier.count - self._anchored >= ANCHOR_EVERY:
            unit = Unit(self._store)
            await self._anchor(unit, self._frontier)
            (decided,) = unit.changes
            events = [*decided.events, *batch]
            change = replace(decided, events=events, attempt=self._attempt)
        appended = await self._store.append([change], self._meta())
        if len(change.events) > len(batch):
            self._anchored = self._frontier.count
        return appended.recorded

    async def _find_stored(self) -> bool:
        """Whether the append that seemed to fail was stored after all: nobody else writes entries.

        A batch is appended whole or not at all, and is smaller than a page.
        """
        page = await self._store.read(
            self._stream, after=self._version, limit=10 * MAX_BATCH_ENTRIES
        )
        stored = any(recorded.position is None for recorded in page)
        if stored:
            self._count(page)
        return stored

    def _count(self, recorded: Sequence[Recorded[Any]]) -> None:
        for each in recorded:
            self._version = max(self._version, each.version)
            if each.position is None:
                self._frontier = with_entry(self._frontier, each)
