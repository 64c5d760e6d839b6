"""How soon a run is claimed, and how soon its agent says something, after it was asked for.

Ours is all of it: a client's POST over HTTP, the append, queue, run host, claim, and the event at
the client that follows the run; then the sandbox and the agent's first line: opened for this run
(cold), or ahead of it (warm). The other sides start a bare interpreter, the same program without a
sandbox, and a no-op job of a stock RQ worker, which forks for each job.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import redis
from rq import Queue

from bench.connections import Connection
from bench.logs import directory
from bench.times import tell
from tests.e2e.servers import KEY, dev_server
from tests.redis_server import RedisServer
from workers.sandboxes.bases import find_base

ROUNDS = 40
WARM_ROUNDS = 5
AIM_SPAWN = 0.5
AIM_FORK = 0.35
AIM_COLD = 3.0
AIM_WARM = 1.0
REFILL_SECONDS = 0.2  # for the sandbox that replaces one that was taken
PROGRAM = 'print("ready", flush=True)\n'
RQ_QUEUE = "bench"
RQ_SECONDS = 30


def main() -> int:
    """Print one line for each comparison. Always 0: it only measures."""
    with (
        directory() as place,
        _redis(place) as server,
        _agent_server(place / "cold", warm=0) as cold,
        _agent_server(place / "warm", warm=2) as warm,
        _stock_worker(server) as queue,
    ):
        _measure(cold, warm, queue)
    return 0


def _measure(cold: int, warm: int, queue: Queue) -> None:
    """Measure servers by their ports."""
    python = find_base().python
    claims: list[float] = []
    spawns: list[float] = []
    forks: list[float] = []
    outputs: dict[bool, tuple[list[float], list[float]]] = {False: ([], []), True: ([], [])}
    after: list[float] = []
    with Connection(cold, KEY) as cold_client, Connection(warm, KEY) as warm_client:
        for number in range(WARM_ROUNDS + ROUNDS):
            _, cold_output, _ = _request_run(cold_client, cold)
            program = _first_byte([python, "-c", PROGRAM])
            time.sleep(REFILL_SECONDS)
            claim, warm_output, was_warm = _request_run(warm_client, warm)
            spawn = _first_byte([python, "-S", "-I", "-c", PROGRAM])
            again = _first_byte([python, "-c", PROGRAM])
            fork = _stock_job(queue)
            if number < WARM_ROUNDS:
                continue
            claims.append(claim)
            spawns.append(spawn)
            forks.append(fork)
            for was, output, bare in (
                (False, cold_output, program),
                (was_warm, warm_output, again),
            ):
                outputs[was][0].append(output)
                outputs[was][1].append(bare)
            if was_warm:
                after.append(warm_output - claim)
    tell("run-claim-spawn", claims, spawns, aim=AIM_SPAWN)
    tell("run-claim-fork", claims, forks, aim=AIM_FORK)
    tell("run-output-cold", *outputs[False], aim=AIM_COLD)
    tell("run-output-warm", *outputs[True], aim=AIM_WARM)
    print(
        f"# {len(after)} of {ROUNDS} runs took a sandbox that was open; from the claim to the first"
        f" output {statistics.median(after) * 1e3:.1f} ms"
    )


def _request_run(client: Connection, port: int) -> tuple[float, float, bool]:
    """Seconds until the claim and the agent's first line are at the client; if it was warm."""
    with Connection(port, KEY) as follower:
        started = time.monotonic()
        run = client.post("/v1/workspaces/default/deployments/hello/runs", {"message": "hello"})
        follower.follow(f"/v1/runs/{run['id']}/events")
        follower.wait_for(b'"detail":"claimed"')
        claimed = time.monotonic()
        said = follower.wait_for(b"event: message")
        spoke = time.monotonic()
        follower.wait_for(b"event: complete")
    return claimed - started, spoke - started, b'"warm":true' in said


def _first_byte(command: list[str]) -> float:
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        took = time.monotonic() - started
        process.stdout.read()
    return took


def _stock_job(queue: Queue) -> float:
    """Seconds until a job begins that does nothing but say when it began."""
    started = time.monotonic()
    job = queue.enqueue("time.monotonic")  # pyright: ignore[reportUnknownMemberType]  # its *args
    result = job.latest_result(RQ_SECONDS)
    assert result is not None
    assert isinstance(result.return_value, float)
    return result.return_value - started


@contextmanager
def _agent_server(place: Path, *, warm: int) -> Generator[int]:
    """A dev server with one agent; yields its port."""
    place.mkdir()
    redis_place = place / "redis"
    redis_place.mkdir()
    with (
        _redis(redis_place) as server,
        dev_server(
            place / "data",
            environment={"ARGOSY_REDIS": server.url, "ARGOSY_WARM_SANDBOXES": str(warm)},
        ) as dev,
    ):
        agent = place / "hello" / "agent.py"
        agent.parent.mkdir()
        agent.write_text(PROGRAM)
        dev.argosy("deploy", str(agent.parent))
        yield int(dev.url.rpartition(":")[2])


@contextmanager
def _redis(place: Path) -> Generator[RedisServer]:
    server = RedisServer(place)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def _stock_worker(server: RedisServer) -> Generator[Queue]:
    """RQ's own worker, as its documentation starts it."""
    command = [str(Path(sys.executable).with_name("rq")), "worker", RQ_QUEUE, "--quiet"]
    worker = subprocess.Popen([*command, "--url", server.url], cwd="/")
    connection = redis.Redis.from_url(server.url)  # pyright: ignore[reportUnknownMemberType]
    try:
        yield Queue(RQ_QUEUE, connection=connection)
    finally:
        connection.close()
        worker.terminate()
        worker.wait(RQ_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
