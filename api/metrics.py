"""`/metrics`: what this process counted, and the state of the whole installation.

The installation's numbers are read when somebody asks, from the log and the read models, so they
cost nothing otherwise and are the same whichever API is asked: never add up those of several.
"""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import structlog
from litestar import Request, Response, get
from litestar.datastructures import State
from prometheus_client import Gauge

from adapters.event_store.store import Store
from adapters.metrics import CONTENT_TYPE, page
from api.auth import Authentication, Caller
from api.calls import Shared
from domain.errors import Forbidden, Unavailable
from projections.reads import ReadModels

SECONDS = 2.0  # what a database may take; Prometheus waits for 10 s by default

COMPLETE = Gauge(
    "argosy_metrics_complete", "1 if this page has it all, 0 without what a database says."
)
POSITION = Gauge("argosy_log_position", "The log's last position.")
WORK = Gauge("argosy_work", "Runs and builds that have not ended.", ["work", "state"])
BEHIND = Gauge(
    "argosy_projection_lag_events", "Positions by which a list is behind the log.", ["projection"]
)
LATE = Gauge(
    "argosy_projection_lag_seconds", "Age of the first event that a list lacks.", ["projection"]
)
STOPPED = Gauge("argosy_projection_stopped", "1 if an event stopped it.", ["projection"])

log = structlog.stdlib.get_logger(__name__)


@get(
    "/metrics",
    operation_id="Metrics",
    tags=["Health"],
    middleware=[Authentication],
    opt={"needs": "read"},
    media_type=CONTENT_TYPE,
)
async def show_metrics(request: Request[Any, Caller, State]) -> Response[bytes]:
    """Return what Prometheus reads. Any role may, with a key that is not held to one workspace."""
    if request.scope["auth"].workspace_id:
        raise Forbidden("The numbers are of all workspaces, and this key is held to one.")
    shared: Shared = request.app.state.shared
    await look(shared.services.store, shared.reads)
    return Response(page(), media_type=CONTENT_TYPE)


async def look(store: Store, reads: ReadModels) -> None:
    """Set the installation's numbers. Where a database is away they stay as they were."""
    found = await asyncio.gather(
        *(_in_time(work) for work in (_look_at_log(store), _look_at_lists(store, reads)))
    )
    COMPLETE.set(all(found))


async def _look_at_log(store: Store) -> None:
    head, census = await store.head(), await store.census()
    POSITION.set(head)
    WORK.clear()
    for category, state, count in census:
        WORK.labels(category, state).set(count)


async def _look_at_lists(store: Store, reads: ReadModels) -> None:
    served = await reads.positions()
    head = await store.head()
    lagging = {each.position for each in served.values() if each.position < head}
    ages = {position: await _age_after(store, position) for position in lagging}
    for gauge in (BEHIND, LATE, STOPPED):
        gauge.clear()
    for name, each in served.items():
        BEHIND.labels(name).set(max(0, head - each.position))
        LATE.labels(name).set(ages.get(each.position, 0.0))
        STOPPED.labels(name).set(each.state == "stopped")


async def _age_after(store: Store, position: int) -> float:
    """Return how long ago the first event after a position was appended."""
    found = await store.read_all(after=position, limit=1)
    return max(0.0, (datetime.now(UTC) - found[0].at).total_seconds()) if found else 0.0


async def _in_time(work: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(SECONDS):
            await work
    except (Unavailable, TimeoutError) as error:
        log.debug("metrics.incomplete", error=str(error))
        return False
    return True
