"""Single runs in real sandboxes, without a queue: what the tests of their execution share."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from domain.limits import Limits
from domain.runs import RunEnded
from tests.workers.worlds import LIMITS, World, make_settings, open_world, workshop
from workers.claims import claim_run
from workers.doors import Doors, open_doors
from workers.executor import Execution
from workers.plans import Workshop
from workers.pumps import Cancel

NOWHERE = "redis://127.0.0.1:1/0"  # nobody listens there


class Bench:
    """Runs agents one at a time, as the run host would."""

    def __init__(self, world: World, workshop: Workshop, doors: Doors) -> None:
        self.world = world
        self.doors = doors
        self.workshop = workshop
        self.cancel = Cancel()
        self.settled = 0

    async def execution(self, run_id: str) -> Execution:
        """Claim a run."""
        claim = await claim_run(self.world.services, run_id, "bench")
        assert claim is not None
        return Execution(
            self.world.services,
            self.workshop,
            claim,
            self.doors,
            cancel=self.cancel,
            settle=self._settle,
        )

    async def run(
        self,
        files: Mapping[str, str] | str,
        *,
        message: str = "hello",
        limits: Limits = LIMITS,
        max_attempts: int = 1,
        **settings: Any,
    ) -> tuple[RunEnded, list[Any]]:
        """Deploy a source and run it; returns how it ended, and its history."""
        tree = {"agent.py": files} if isinstance(files, str) else files
        await self.world.deploy(tree, limits=limits, max_attempts=max_attempts, **settings)
        run_id = await self.world.request(message)
        end = await (await self.execution(run_id)).run()
        history = await self.world.history(run_id)
        assert history[-1].event == end
        return end, history

    def _settle(self) -> None:
        self.settled += 1


@asynccontextmanager
async def open_bench(**changes: Any) -> AsyncGenerator[Bench]:
    """A bench with real sandboxes and a real log. `changes`: of its settings."""
    with make_settings(NOWHERE, **changes) as settings:
        async with open_world(settings) as world, open_doors(world.services) as doors:
            yield Bench(world, workshop(world.services), doors)
