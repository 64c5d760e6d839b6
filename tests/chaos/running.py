"""One run of the suite, from the empty directory to the evidence."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct

from adapters.settings import read_settings
from tests.chaos.clients import Clients
from tests.chaos.evidence import Evidence
from tests.chaos.faults import Chaos
from tests.chaos.installation import Installation
from tests.chaos.leftovers import Machine, groups_of, leftovers
from tests.chaos.plan import DECK, schedule, wishes
from tests.chaos.programs import PROGRAMS
from tests.chaos.reading import read_log, read_models
from tests.chaos.unguarded import GUARDS
from tests.postgres import find_postgres

LEASE_SECONDS = 5.0
SETTLE_SECONDS = 60.0
SWEPT_SECONDS = 20.0  # a dead worker's control groups are swept by then
TICK_SECONDS = 0.05


class Options(Struct, frozen=True, kw_only=True):
    """What is asked for. without: a guard that is taken out of every process, by its name."""

    kills: int
    seed: int
    database: str
    keep: bool = False
    without: str = ""


def usual_database() -> str:
    """Return `postgres` where it is installed, else `sqlite`."""
    return "postgres" if find_postgres() else "sqlite"


async def run(options: Options, say: Callable[[str], None]) -> Evidence:
    """Start, attack, settle, stop, read; returns what was seen."""
    began = time.monotonic()
    guard = GUARDS[options.without] if options.without else None
    launcher = ["-m", "tests.chaos.unguarded", options.without] if guard else ["-m"]
    installation = Installation(options.seed, options.database, LEASE_SECONDS, launcher)
    before = Machine.now()
    evidence = Evidence(seed=options.seed, database=options.database, lease_seconds=LEASE_SECONDS)
    weights = {each.name: each.weight for each in PROGRAMS.values()}
    clients = Clients(installation, wishes(options.seed, 2, weights))
    chaos = Chaos(installation, say)
    background = [
        asyncio.create_task(installation.orphans.run(installation.children)),
        asyncio.create_task(_measure_lag(evidence)),
    ]
    try:
        say(f"starting in {installation.root}")
        await installation.start()
        await clients.prepare()
        parts = {child.part for child in installation.children} | {"sandbox"}
        parts |= {"disk"} if installation.small_disk else set()
        asking = asyncio.create_task(clients.run())
        deck = guard.cards if guard else DECK
        await chaos.run(schedule(options.seed, options.kills, parts, LEASE_SECONDS, deck))
        evidence.settled = time.time()
        say("no more faults; waiting for what is under way")
        await clients.stop(SETTLE_SECONDS)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await _swept(installation)
        await clients.follow_to_the_end(SETTLE_SECONDS)
        await clients.close()
        say("stopping")
        await installation.stop()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        installation.orphans.look(installation.children)
        server = [child.pid for child in installation.children if child.part == "postgres"]
        evidence.left = leftovers(installation, before, server)
        say("reading")
        settings = read_settings(installation.environment())
        await read_log(evidence, settings)
        await read_models(evidence, settings, installation.root)
    finally:
        await clients.close()
        await installation.stop()
        await installation.stop_database()
        _gather(evidence, installation, clients, chaos)
        if not options.keep:
            installation.remove()
    evidence.seconds = time.monotonic() - began
    return evidence


def _gather(evidence: Evidence, installation: Installation, clients: Clients, chaos: Chaos) -> None:
    evidence.faults, evidence.missed = chaos.faults, chaos.missed
    evidence.sent, evidence.followed = clients.sent, clients.followed
    evidence.peeked = clients.peeked
    for child in installation.children:
        evidence.deaths += child.deaths
        evidence.said += child.said()


async def _swept(installation: Installation) -> None:
    """Wait for what dead workers left to be swept by living ones."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SWEPT_SECONDS):
            while groups_of(installation.orphans.known):  # noqa: ASYNC110
                await asyncio.sleep(0.2)


async def _measure_lag(evidence: Evidence) -> None:
    """Note how late this process itself is: how starved the machine was."""
    while True:
        asked = time.monotonic()
        await asyncio.sleep(TICK_SECONDS)
        evidence.worst_lag = max(evidence.worst_lag, time.monotonic() - asked - TICK_SECONDS)
