"""Giving up work that lost its worker: it is fenced off, then retried or ended."""

from typing import Any

import structlog
from msgspec import Struct
from prometheus_client import Counter
from structlog.contextvars import bound_contextvars

from adapters.wiring import Services
from domain import builds, runs
from domain.builds import BUILD, LoseBuild
from domain.decider import Recorded
from domain.deploying import lose_build
from domain.errors import Conflict
from domain.handling import Unit
from domain.ids import split_stream
from domain.ports import Change, DropLease, Held, StreamHead
from domain.runs import RUN, EndRun, LoseRun, RunEnded
from workers.attempts import ids_of
from workers.envelopes import meta_after
from workers.histories import read_history

LOST = Counter("argosy_work_lost_total", "Runs and builds taken from a lost worker.", ["work"])

log = structlog.stdlib.get_logger(__name__)


class Loss(Struct, frozen=True, kw_only=True):
    """The worker of a stream's `attempt` is gone. `said_by` is the worker that says so."""

    stream: str
    attempt: int
    said_by: str
    detail: str


async def lose(services: Services, loss: Loss) -> bool:
    """Record the loss; whether that was news. Raises Unavailable.

    From the first step on, nothing that the lost worker still sends is stored. Safe to repeat
    after a crash at any point, and harmless for work that has ended or was taken over.
    """
    try:
        head = await _fence(services, loss)
    except Conflict as refusal:
        log.info("work.not_lost", stream=loss.stream, attempt=loss.attempt, why=refusal.detail)
        return False
    if head is None:
        return False
    with bound_contextvars(**ids_of(head.events[0]), attempt=loss.attempt):
        return await _lose(services, loss, head.events[-1])


async def _lose(services: Services, loss: Loss, cause: Recorded[Any]) -> bool:
    category, _ = split_stream(loss.stream)
    try:
        await (_lose_run if category == "run" else _lose_build)(services, loss, cause)
    except Conflict as refusal:
        log.info("work.not_lost", why=refusal.detail)
        return False
    LOST.labels(category).inc()
    log.warning("work.lost", detail=loss.detail)
    return True


async def take_over(services: Services, held: Held, *, said_by: str, detail: str) -> None:
    """Retry or end what the owner of a lease does not do any more, or drop a lease without work.

    Raises Unavailable.
    """
    loss = Loss(stream=held.stream, attempt=held.attempt, said_by=said_by, detail=detail)
    if not await lose(services, loss) and not await _is_running(services, held):
        await services.leases.drop(held.stream, held.attempt)


async def end_after_bug(services: Services, loss: Loss) -> None:
    """End a run that a bug of ours makes impossible; trying again would not help.

    Raises Conflict if it is not ours any more, Unavailable.
    """
    head = await _fence(services, loss)
    if head is None:
        return
    cause = head.events[-1]
    _, id = split_stream(loss.stream)
    history = await read_history(services.store, loss.stream)
    end = RunEnded(
        run_id=id,
        how="failed",
        reason="harness_error",
        detail=loss.detail,
        attempt=loss.attempt,
        entries=history.frontier.count,
        entries_root=history.frontier.root(),
    )
    meta, drop = meta_after(cause, loss.said_by), DropLease()
    await services.commands.send(RUN, id, EndRun(end=end), meta, lease=drop)


async def state_of(services: Services, stream: str) -> runs.Run | builds.Build:
    """Return where a run or a build stands."""
    category, _ = split_stream(stream)
    head = await services.store.load(stream)
    events = [recorded.event for recorded in head.events]
    return RUN.fold(events) if category == "run" else BUILD.fold(events)


async def _is_running(services: Services, held: Held) -> bool:
    match await state_of(services, held.stream):
        case runs.Running(attempt=attempt) | builds.Running(attempt=attempt):
            return attempt == held.attempt
        case _:
            return False


async def _fence(services: Services, loss: Loss) -> StreamHead | None:
    """Make sure that the history cannot grow any more; returns it.

    None if the stream is unknown or a later attempt has it.
    """
    head = await services.store.load(loss.stream)
    if not head.events or head.attempt > loss.attempt + 1:
        return None
    cause = head.events[-1]
    fence = Change(stream=loss.stream, attempt=head.attempt, fence=loss.attempt + 1)
    await services.store.append([fence], meta_after(cause, loss.said_by))
    return head


async def _lose_run(services: Services, loss: Loss, cause: Recorded[Any]) -> None:
    _, id = split_stream(loss.stream)
    history = await read_history(services.store, loss.stream)
    command = LoseRun(
        run_id=id,
        attempt=loss.attempt,
        seen=history.seen,
        detail=loss.detail,
        entries=history.frontier.count,
        entries_root=history.frontier.root(),
    )
    meta = meta_after(cause, loss.said_by)
    fence, drop = loss.attempt + 1, DropLease()
    await services.commands.send(RUN, id, command, meta, fence=fence, lease=drop)


async def _lose_build(services: Services, loss: Loss, cause: Recorded[Any]) -> None:
    _, id = split_stream(loss.stream)
    history = await read_history(services.store, loss.stream)
    command = LoseBuild(
        build_id=id,
        attempt=loss.attempt,
        detail=loss.detail,
        entries=history.frontier.count,
        entries_root=history.frontier.root(),
    )

    async def work(unit: Unit) -> None:
        await lose_build(unit, command)

    await services.commands.run(work, meta_after(cause, loss.said_by), key=loss.stream)
