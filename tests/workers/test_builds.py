"""Build workers as processes: a build from its hint to what waits for it, and its lost workers."""

import socket
import time
from collections.abc import Iterator

import msgspec
import psutil
import pytest
from msgspec.structs import replace

from adapters.settings import Settings
from domain.agents import AGENT
from domain.builds import BuildClaimed, BuildEnded, BuildPlanned, BuildRetried
from domain.deploying import cancel_build
from domain.deployments import DEPLOYMENT, Active
from domain.entries import BuildLogged
from domain.handling import Unit
from domain.merkle import Frontier, entry_leaf
from tests.redis_server import RedisServer, empty
from tests.workers.packages import make_wheel
from tests.workers.worlds import WORKSPACE, World, eventually, hosting, processes, tending, workshop

USES_GREETING = {
    "agent.py": "import greeting\nprint(greeting.VERSION)\n",
    "requirements.txt": "greeting==1.0\n",
}


@pytest.fixture(autouse=True)
def needs_sandboxes(world: World) -> None:
    """Skip where there are none."""
    workshop(world.services)


@pytest.fixture
def wheels(settings: Settings) -> Settings:
    """Settings with a folder of wheels for an index."""
    folder = settings.data / "wheels"
    make_wheel(folder, "greeting", "1.0")
    return replace(settings, package_index=str(folder))


@pytest.fixture
def silence(settings: Settings) -> Iterator[Settings]:
    """Settings with an index that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
        yield replace(settings, package_index=url)


async def revision_status(world: World, deployment_id: str) -> str:
    deployment = await Unit(world.services.store).state(DEPLOYMENT, deployment_id)
    assert isinstance(deployment, Active)
    return deployment.revisions[1].status


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def alive(found: list[psutil.Process]) -> list[int]:
    return [
        each.pid for each in found if each.is_running() and each.status() != psutil.STATUS_ZOMBIE
    ]


async def test_a_build_makes_its_version_ready_and_lets_the_run_start(
    world: World, wheels: Settings
) -> None:
    deployed = await world.deploy(USES_GREETING, requirements="greeting==1.0\n")
    run = await world.request()
    stream = f"build-{deployed.build_id}"
    async with hosting(world), processes(wheels, "build"):
        (end,) = await world.until_all(stream, BuildEnded, 1)
        assert (end.how, end.detail) == ("succeeded", "")
        ended = await world.ended(run)
    assert (ended.how, ended.output) == ("completed", "1.0")
    assert await revision_status(world, deployed.deployment_id) == "ready"
    agent = await Unit(world.services.store).state(AGENT, deployed.agent_id)
    assert agent.versions[1].status == "ready"  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

    history = await world.services.store.read(stream)
    logged = [each for each in history if isinstance(each.event, BuildLogged)]
    frontier = Frontier()
    for each in logged:
        frontier = frontier.add(entry_leaf(each.version, each.type, each.data))
    assert (end.entries, end.entries_root) == (len(logged), frontier.root())
    planned = [each.event for each in history if isinstance(each.event, BuildPlanned)]
    assert [(each.mode, each.confirmed) for each in planned] == [("FAST_OVERLAY", True)]


async def test_a_failed_build_fails_its_revision_and_the_run_that_waits(
    world: World, wheels: Settings
) -> None:
    deployed = await world.deploy(requirements="no-such-package==1.0\n")
    run = await world.request()
    async with hosting(world), processes(wheels, "build"):
        end = await world.ended(run)
    assert (end.how, end.reason) == ("failed", "build_failed")
    assert "no-such-package" in end.detail
    assert await revision_status(world, deployed.deployment_id) == "failed"


async def test_a_build_whose_worker_is_killed_dies_with_it_and_is_taken_over(
    world: World, silence: Settings, wheels: Settings
) -> None:
    deployed = await world.deploy(USES_GREETING, requirements="greeting==1.0\n")
    stream = f"build-{deployed.build_id}"
    async with tending(world), processes(silence, "build") as (worker,):
        await world.until_all(stream, BuildLogged, 1)
        await eventually(lambda: _some(children(worker.pid)))
        left = children(worker.pid)
        start = time.monotonic()

        await worker.kill()

        await eventually(lambda: _none(alive(left)), 5)
        await world.until_all(stream, BuildRetried, 1)
        assert time.monotonic() - start < silence.lease_seconds + 2
        async with processes(wheels, "build"):
            (end,) = await world.until_all(stream, BuildEnded, 1)
    assert (end.how, end.attempt) == ("succeeded", 2)


async def test_a_build_worker_that_stops_hands_its_build_back(
    world: World, silence: Settings, wheels: Settings
) -> None:
    deployed = await world.deploy(USES_GREETING, requirements="greeting==1.0\n")
    stream = f"build-{deployed.build_id}"
    async with tending(world), processes(silence, "build") as (worker,):
        await world.until_all(stream, BuildLogged, 1)
        left = children(worker.pid)

        assert await worker.stop() == 0

        (retried,) = await world.until_all(stream, BuildRetried, 1)
        assert "stopped" in retried.detail
        assert alive(left) == []
        async with processes(wheels, "build"):
            (end,) = await world.until_all(stream, BuildEnded, 1)
    assert (end.how, end.attempt) == ("succeeded", 2)


async def test_a_build_that_is_cancelled_ends_and_fails_what_waits(
    world: World, silence: Settings
) -> None:
    deployed = await world.deploy(USES_GREETING, requirements="greeting==1.0\n")
    run = await world.request()
    stream = f"build-{deployed.build_id}"
    async with hosting(world), processes(silence, "build") as (worker,):
        await world.until_all(stream, BuildLogged, 1)
        await eventually(lambda: _some(children(worker.pid)))
        left = children(worker.pid)

        async def work(unit: Unit) -> None:
            await cancel_build(unit, deployed.build_id, "Enough of it.")

        await world.services.commands.run(work, world.meta(), key=stream)

        (end,) = await world.until_all(stream, BuildEnded, 1)
        await eventually(lambda: _none(alive(left)), 5)
        ended = await world.ended(run)
    assert (end.how, end.attempt, end.detail) == ("cancelled", 1, "Enough of it.")
    assert (ended.how, ended.reason) == ("failed", "build_failed")
    assert await revision_status(world, deployed.deployment_id) == "failed"
    history = await world.services.store.read(stream)
    assert end.entries == sum(isinstance(each.event, BuildLogged) for each in history)
    [plan] = [each.event for each in history if isinstance(each.event, BuildPlanned)]
    assert (plan.mode, plan.evidence) == (
        "FAST_OVERLAY",
        "It was cancelled before more was known.",
    )
    assert [step.name for step in end.steps] == ["plan", "resolve"]


async def test_a_build_goes_on_when_redis_loses_everything(
    world: World, wheels: Settings, redis_server: RedisServer
) -> None:
    first = await world.deploy(USES_GREETING, requirements="greeting==1.0\n")
    async with tending(world), processes(wheels, "build"):
        await world.until_all(f"build-{first.build_id}", BuildClaimed, 1)
        with redis_server.client() as client:
            empty(client)
        (end,) = await world.until_all(f"build-{first.build_id}", BuildEnded, 1)
        assert (end.how, end.attempt) == ("succeeded", 1)
        redis_server.kill()
        redis_server.start()

        second = await world.deploy(
            {**USES_GREETING, "more.py": "x = 1\n"}, requirements="greeting==1.0\n"
        )
        (end,) = await world.until_all(f"build-{second.build_id}", BuildEnded, 1)
    assert (end.how, end.attempt) == ("succeeded", 1)


async def test_a_hint_that_comes_twice_builds_once(world: World, wheels: Settings) -> None:
    deployed = await world.deploy(USES_GREETING, requirements="greeting==1.0\n")
    stream = f"build-{deployed.build_id}"
    async with tending(world), processes(wheels, "build", "build"):
        await world.until_all(stream, BuildEnded, 1)
    history = await world.services.store.read(stream)
    assert sum(isinstance(each.event, BuildClaimed) for each in history) == 1


async def test_lines_about_a_build_say_which_and_whose_it_is(
    world: World, silence: Settings, wheels: Settings
) -> None:
    """As docs/guides/operate.md promises, whichever worker had it, and also when it is stopped."""
    deployed = await world.deploy(USES_GREETING, requirements="greeting==1.0\n")
    stream = f"build-{deployed.build_id}"
    silence = replace(silence, log_format="json", drain_seconds=0.1)
    async with tending(world), processes(silence, "build") as (first,):
        await world.until_all(stream, BuildLogged, 1)
        await first.stop()
        async with processes(replace(wheels, log_format="json"), "build") as (second,):
            await world.until_all(stream, BuildEnded, 1)
            await second.stop()

    (requested, *_) = await world.services.store.read(stream)
    for attempt, worker, events in (
        (1, first, {"build.claimed", "work.lost"}),
        (2, second, {"build.claimed", "build.ended"}),
    ):
        said = [msgspec.json.decode(line) for line in worker.said().splitlines()]
        about = [each for each in said if each["event"].startswith(("build.", "work."))]
        assert {each["event"] for each in about} >= events
        ids = {
            "process": "build",
            "build": deployed.build_id,
            "workspace": WORKSPACE,
            "request_id": requested.correlation_id,
            "attempt": attempt,
        }
        for each in about:
            assert ids.items() <= each.items()
            assert each.keys() >= {"timestamp", "level"}


async def _some(found: list[psutil.Process]) -> bool:
    return bool(found)


async def _none(found: list[int]) -> bool:
    return not found
