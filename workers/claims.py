"""Taking a run or a build: one append that sets the attempt and the lease. The loser stops."""

import time
from collections.abc import Awaitable, Callable

from msgspec import Struct

from adapters.wiring import Services
from domain import builds, runs
from domain.builds import BUILD, BuildRequested, ClaimBuild
from domain.errors import Conflict, NotFound
from domain.handling import Unit
from domain.ids import split_stream, stream_name
from domain.ports import Meta, StreamHead, TakeLease
from domain.runs import RUN, ClaimRun, RunRequested
from workers.envelopes import meta_after


class Claim[R](Struct, frozen=True, kw_only=True):
    """What the holder of one attempt needs to know.

    held_until: on this machine's monotonic clock, when the lease runs out unless renewed.
    claimed_at: likewise, when the claim was stored.
    """

    stream: str
    id: str
    attempt: int
    owner: str
    request: R
    head: StreamHead
    held_until: float
    claimed_at: float

    def meta(self) -> Meta:
        """Return the envelope of one more append of this attempt."""
        return meta_after(self.head.events[0], self.owner)


async def claim_run(services: Services, id: str, owner: str) -> Claim[RunRequested] | None:
    """Take a run, or return None: it ended, is held by another, or still waits for its build."""
    head = await services.store.load(stream_name("run", id))
    run = RUN.fold(recorded.event for recorded in head.events)
    if not isinstance(run, runs.Waiting) or await _still_building(services, run.request):
        return None

    async def work(unit: Unit) -> int:
        state = await unit.state(RUN, id)
        attempt = state.attempts + 1 if isinstance(state, runs.Waiting) else 0
        command = ClaimRun(run_id=id, worker=owner)
        await unit.decide(RUN, id, command, fence=attempt, lease=_lease(services, owner))
        return attempt

    return await _claim(services, work, run.request, head, owner)


async def claim_build(services: Services, id: str, owner: str) -> Claim[BuildRequested] | None:
    """Take a build, or return None: it ended, or is held by another."""
    head = await services.store.load(stream_name("build", id))
    build = BUILD.fold(recorded.event for recorded in head.events)
    if not isinstance(build, builds.Waiting):
        return None

    async def work(unit: Unit) -> int:
        state = await unit.state(BUILD, id)
        attempt = state.attempts + 1 if isinstance(state, builds.Waiting) else 0
        command = ClaimBuild(build_id=id, worker=owner)
        await unit.decide(BUILD, id, command, fence=attempt, lease=_lease(services, owner))
        return attempt

    return await _claim(services, work, build.request, head, owner)


async def _claim[R](
    services: Services,
    work: Callable[[Unit], Awaitable[int]],
    request: R,
    head: StreamHead,
    owner: str,
) -> Claim[R] | None:
    """Append the claim that `work` decides; None if somebody else was first."""
    first, last = head.events[0], head.events[-1]
    read = [head]

    async def claim(unit: Unit) -> int:
        if read:  # else somebody was first, and may only have asked for its end
            unit.assume(first.stream, read.pop())
        return await work(unit)

    asked = time.monotonic()
    try:
        done = await services.commands.run(claim, meta_after(last, owner), key=first.stream)
    except (Conflict, NotFound):
        return None
    return Claim(
        stream=first.stream,
        id=split_stream(first.stream)[1],
        attempt=done.value,
        owner=owner,
        request=request,
        head=head,
        held_until=asked + services.settings.lease_seconds,
        claimed_at=time.monotonic(),
    )


async def _still_building(services: Services, request: RunRequested) -> bool:
    if not request.waits_for:
        return False
    head = await services.store.load(stream_name("build", request.waits_for))
    build = BUILD.fold(recorded.event for recorded in head.events)
    return not isinstance(build, builds.Ended)


def _lease(services: Services, owner: str) -> TakeLease:
    return TakeLease(owner=owner, seconds=services.settings.lease_seconds)
