"""A worker host: one process that does many pieces of one kind of work at a time.

A hint becomes a task; a task claims its work, or stops; one task renews all leases, one hears of
cancellations. What the work is, `Work` knows.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import structlog
from msgspec import Struct
from prometheus_client import Gauge
from structlog.contextvars import bind_contextvars

from adapters.wiring import Services
from domain.decider import Event
from domain.errors import Conflict, NotFound, Unavailable
from domain.ids import split_stream
from workers.claims import Claim
from workers.heartbeats import Heartbeats
from workers.losing import Loss, lose, take_over
from workers.outages import surely
from workers.pumps import Cancel
from workers.rq_host import Hints

JOIN_SECONDS = 3.0

log = structlog.stdlib.get_logger(__name__)


class Kind(Struct, frozen=True, kw_only=True):
    """What kind of work a host does.

    name: the category of its streams. queue: where hints of it come. slots: pieces at once.
    cancelled: the event that asks for the end of one; it has a `detail`.
    gather_seconds: for how long word of cancellations may wait for more: every append wakes all
    hosts, and next to none is a cancellation.
    """

    name: str
    queue: str
    slots: int
    cancelled: type[Event]
    gather_seconds: float


class Work[R](Protocol):
    """One kind of work, a piece at a time."""

    async def claim(self, id: str, owner: str) -> Claim[R] | None:
        """Take it; None if it is not to be had."""
        ...

    async def do(self, claim: Claim[R], cancel: Cancel, settle: Callable[[], None]) -> None:
        """Do it and record how it ended; `settle` is called before the append that says so.

        Raises Conflict or NotFound when it is not ours any more, Unavailable when this machine
        cannot do it now and another one might; either way nothing of it is left here.
        """
        ...

    async def broke(self, loss: Loss) -> None:
        """Record that a bug of ours is in its way. Raises Unavailable."""
        ...


class Piece[R]:
    """One piece of work on this host; `claim` once it is ours."""

    def __init__(self) -> None:
        self.cancel = Cancel()
        self.claim: Claim[R] | None = None
        self.task: asyncio.Task[None] | None = None


class Host[R]:
    """Does work of one kind. `owner` is what its leases and events call it."""

    def __init__(
        self, services: Services, kind: Kind, work: Work[R], owner: str, hosted: Gauge
    ) -> None:
        self.owner = owner
        self._services = services
        self._kind = kind
        self._work = work
        self._hosted = hosted
        self._loop = asyncio.get_running_loop()
        self._pieces: dict[str, Piece[R]] = {}
        self._stopping = False
        self._strays: dict[str, asyncio.Task[None]] = {}
        settings = services.settings
        self._heartbeats = Heartbeats(
            services.leases,
            owner,
            settings.lease_seconds,
            lost=self._stop_lost,
            stray=self._find_stray,
        )
        self._hints = Hints(settings.redis, owner, kind.queue, kind.slots, self._take)

    async def run(
        self,
        stop: asyncio.Event,
        hurry: asyncio.Event | None = None,
        besides: Sequence[Coroutine[Any, Any, None]] = (),
    ) -> None:
        """Work until `stop`, then until what is under way has ended.

        At `hurry`, or after `settings.drain_seconds`, what is left is handed to other hosts.
        besides: what else is done meanwhile; the end of one of them is a bug.
        """
        background = [
            asyncio.create_task(self._heartbeats.run()),
            asyncio.create_task(self._hear_cancellations(await self._head())),
            *(asyncio.create_task(each) for each in besides),
        ]
        self._hints.start()
        stopped = asyncio.create_task(_passed(stop))
        try:
            await asyncio.wait({*background, stopped}, return_when=asyncio.FIRST_COMPLETED)
            self._stopping = True
            self._hints.stop()
            await self._drain(background, hurry or asyncio.Event())
            for task in (stopped, *background):
                if task.done():
                    task.result()  # a bug in the background ends the host, audibly
        finally:
            self._hints.stop()
            await self._hand_back()
            for task in (*background, stopped):
                task.cancel()
            await asyncio.gather(*background, stopped, return_exceptions=True)
            await asyncio.to_thread(self._hints.join, JOIN_SECONDS)

    # -- taking hints

    def _take(self, stream: str) -> None:
        """Called in the thread of the hints."""
        self._loop.call_soon_threadsafe(self._begin, stream)

    def _begin(self, stream: str) -> None:
        if (
            stream in self._pieces or self._stopping
        ):  # told twice, or too late: the reaper tells again
            self._hints.free()
            return
        piece = self._pieces[stream] = Piece[R]()
        self._hosted.inc()
        piece.task = asyncio.create_task(self._host(stream, piece))

    async def _host(self, stream: str, piece: Piece[R]) -> None:
        name = self._kind.name
        _, id = split_stream(stream)
        self._heartbeats.claiming(stream)
        bind_contextvars(**{name: id})  # in this task
        try:
            await self._do_claimed(stream, piece)
        except Unavailable as error:
            log.warning("work.put_off", error=error.detail)
            await self._give_up(piece, error.detail)
        except (Conflict, NotFound) as refusal:
            log.warning("work.overtaken", why=refusal.detail)
        except Exception as error:  # the boundary of RQ's job: a bug ends its work, not the host
            log.exception("work.broke")
            await self._end_broken(piece, error)
        finally:
            self._heartbeats.forget(stream)
            self._pieces.pop(stream, None)
            self._hosted.dec()
            self._hints.free()

    async def _do_claimed(self, stream: str, piece: Piece[R]) -> None:
        _, id = split_stream(stream)
        claim = await self._work.claim(id, self.owner)
        if claim is None:
            log.debug("work.not_ours")
            return
        piece.claim = claim
        self._heartbeats.hold(stream, claim.held_until)
        await self._work.do(claim, piece.cancel, lambda: self._heartbeats.settle(stream))
        piece.claim = None

    async def _give_up(self, piece: Piece[R], detail: str) -> None:
        """Let another attempt be made. If that cannot be said now, the stray lease says it."""
        if piece.claim is None:
            return
        try:
            await lose(self._services, self._loss(piece.claim, detail))
        except Unavailable as error:
            log.warning("work.not_given_up", error=error.detail)

    async def _end_broken(self, piece: Piece[R], error: Exception) -> None:
        if piece.claim is None:
            return
        detail = f"Argosy could not do it: {type(error).__name__}."
        try:
            await self._work.broke(self._loss(piece.claim, detail))
        except (Conflict, Unavailable) as refusal:
            log.warning("work.not_ended", why=refusal.detail)

    def _loss(self, claim: Claim[R], detail: str) -> Loss:
        return Loss(stream=claim.stream, attempt=claim.attempt, said_by=self.owner, detail=detail)

    # -- leases

    def _stop_lost(self, stream: str) -> None:
        """Stop at once what another host may be doing already; nothing more of it is stored."""
        piece = self._pieces.get(stream)
        if piece is not None and piece.task is not None:
            piece.claim = None
            piece.task.cancel()

    def _find_stray(self, stream: str) -> None:
        if stream not in self._strays:
            task = asyncio.create_task(self._settle_stray(stream))
            self._strays[stream] = task
            task.add_done_callback(lambda _: self._strays.pop(stream, None))

    async def _settle_stray(self, stream: str) -> None:
        """Give up a lease that is ours although nobody here works on it any more."""
        try:
            held = await self._services.leases.held(stream)
            if held is not None and held.owner == self.owner and stream not in self._pieces:
                detail = f"The worker {self.owner} gave it up."
                await take_over(self._services, held, said_by=self.owner, detail=detail)
        except Unavailable as error:
            log.warning("lease.stray", stream=stream, error=error.detail)

    # -- in the background

    async def _hear_cancellations(self, after: int) -> None:
        """Tell work here that somebody asked for its end, as the log says so."""
        types, gather = [self._kind.cancelled.tag()], self._kind.gather_seconds
        while True:
            try:
                follow = self._services.store.follow
                async for batch in follow(after=after, types=types, gather=gather):
                    for recorded in batch:
                        piece = self._pieces.get(recorded.stream)
                        if piece is not None:
                            piece.cancel.ask(recorded.event.detail)
                        after = recorded.position or after
            except Unavailable as error:
                log.warning("cancellations.not_heard", error=error.detail)
                await asyncio.sleep(1.0)

    async def _head(self) -> int:
        head = 0

        async def ask() -> None:
            nonlocal head
            head = await self._services.store.head()

        await surely(ask)
        return head

    # -- stopping

    async def _drain(self, background: list[asyncio.Task[None]], hurry: asyncio.Event) -> None:
        """Let work end; it needs its leases and cancellations for as long."""
        tasks = self._tasks()
        if not tasks:
            return
        seconds = self._services.settings.drain_seconds
        log.info("host.draining", left=len(tasks), seconds=seconds)
        ended = asyncio.gather(*tasks, return_exceptions=True)
        hurried = asyncio.create_task(_passed(hurry))
        await asyncio.wait(
            {ended, hurried, *background}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        hurried.cancel()
        log.info("host.drained", left=len(self._tasks()), hurried=hurry.is_set())

    async def _hand_back(self) -> None:
        """Stop what is still going on, and let other hosts take it at once."""
        left = [piece.claim for piece in self._pieces.values() if piece.claim is not None]
        tasks = [*self._tasks(), *self._strays.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for claim in left:
            try:
                await lose(
                    self._services, self._loss(claim, f"The worker {self.owner} was stopped.")
                )
            except Unavailable as error:  # its lease runs out soon
                log.warning("work.not_handed_back", stream=claim.stream, error=error.detail)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [piece.task for piece in self._pieces.values() if piece.task is not None]


async def _passed(event: asyncio.Event) -> None:
    await event.wait()
