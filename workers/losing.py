"""Giving up work that lost its worker: it is fenced off, then retried or ended."""

from typing import Any

import structlog
from msgspec import Struct

from adapters.wiring import Services
from domain.builds import LoseBuild
from domain.decider import Recorded
from domain.deploying import lose_build
from domain.errors import Conflict
from domain.handling import Unit
from domain.ids import split_stream
from domain.ports import Change, DropLease
from domain.runs import RUN, LoseRun
from workers.envelopes import meta_after
from workers.histories import read_history

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
    head = await services.store.load(loss.stream)
    if not head.events or head.attempt > loss.attempt + 1:
        return False
    cause = head.events[-1]
    category, _ = split_stream(loss.stream)
    try:
        # First the fence: what is read then can no longer grow under our eyes.
        fence = Change(stream=loss.stream, attempt=head.attempt, fence=loss.attempt + 1)
        await services.store.append([fence], meta_after(cause, loss.said_by))
        await (_lose_run if category == "run" else _lose_build)(services, loss, cause)
    except Conflict as refusal:
        log.info("work.not_lost", stream=loss.stream, attempt=loss.attempt, why=refusal.detail)
        return False
    log.warning("work.lost", stream=loss.stream, attempt=loss.attempt, detail=loss.detail)
    return True


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
