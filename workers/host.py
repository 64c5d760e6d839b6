"""The run host: one process per machine that runs agents, many at a time, in sandboxes.

No agent code runs in it.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Gauge

from adapters.tracing import fail
from adapters.wiring import Services
from domain.jobs import RUNS
from domain.runs import RunCancelRequested, RunRequested
from workers.attempts import attempted
from workers.claims import Claim, claim_run
from workers.doors import Doors, open_doors
from workers.envelopes import new_owner
from workers.executor import Execution, results_scratch
from workers.hosting import Host, Kind
from workers.losing import Loss, end_after_bug
from workers.plans import Workshop, expect_plain_runs
from workers.pumps import Cancel
from workers.sandboxes.namespaces import Paths
from workers.stopping import Stop
from workers.sweeping import keep_swept, keep_trimmed
from workers.workshops import open_workshop, places_scratch

SLOTS = Gauge("argosy_run_slots", "Runs that this host holds at most.")
HOSTED = Gauge("argosy_runs_hosted", "Runs that this host holds now.")

log = structlog.stdlib.get_logger(__name__)


class RunHost:
    """Runs runs. `owner` is what its leases and events call it."""

    def __init__(self, services: Services, workshop: Workshop, doors: Doors) -> None:
        settings = services.settings
        self._services = services
        self._workshop = workshop
        SLOTS.set(settings.run_slots)
        kind = Kind(
            name="run",
            queue=RUNS,
            slots=settings.run_slots,
            cancelled=RunCancelRequested,
            gather_seconds=0.02,
        )
        runs = _Runs(services, workshop, doors)
        self._host = Host(services, kind, runs, new_owner("host"), HOSTED)
        self.owner = self._host.owner

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event | None = None) -> None:
        """Host runs until `stop`; see `Host.run`."""
        settings, layers = self._services.settings, self._workshop.layers
        driver = self._workshop.pool.driver
        scratches = (results_scratch(settings), places_scratch(settings))
        expect_plain_runs(self._workshop)
        try:
            await self._host.run(
                stop,
                hurry,
                [
                    keep_swept(self._services.blobs, layers, driver, *scratches),
                    keep_trimmed(layers),
                    self._workshop.pool.keep(),
                ],
            )
        finally:
            await self._workshop.pool.close()


class _Runs:
    """Runs as a host's work."""

    def __init__(self, services: Services, workshop: Workshop, doors: Doors) -> None:
        self._services = services
        self._workshop = workshop
        self._doors = doors

    async def claim(self, id: str, owner: str) -> Claim[RunRequested] | None:
        return await claim_run(self._services, id, owner)

    async def do(
        self, claim: Claim[RunRequested], cancel: Cancel, settle: Callable[[], None]
    ) -> None:
        execution = Execution(
            self._services, self._workshop, claim, self._doors, cancel=cancel, settle=settle
        )
        agent = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": claim.request.agent_name,
            "gen_ai.agent.id": claim.request.agent_id,
        }
        with attempted(claim, f"invoke_agent {claim.request.agent_name}", agent) as span:
            log.info("run.claimed")
            end = await execution.run()
            span.set_attribute("argosy.run.how", end.how)
            if end.how == "failed":
                fail(span, end.reason or end.how)

    async def broke(self, loss: Loss) -> None:
        await end_after_bug(self._services, loss)


def host_with(paths: Paths) -> Callable[[Services, Stop], Awaitable[None]]:
    """Return the loop of a run host on a machine that was prepared."""

    async def run(services: Services, stop: Stop) -> None:
        workshop = open_workshop(services, paths)
        async with open_doors(services) as doors:
            await RunHost(services, workshop, doors).run(stop, stop.again)

    return run
