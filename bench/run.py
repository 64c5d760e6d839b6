"""How soon a run is claimed, and how soon its agent says something, after it was asked for.

Ours is all of it: a client's POST over HTTP, the append, dispatcher, queue, run host, claim, and
the event at the client that follows the run; then the sandbox and the agent's first line. The other
sides start a bare interpreter, the same program without a sandbox, and a no-op job of a stock RQ
worker, which forks for each job.
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
from tests.e2e.servers import KEY, DevServer, dev_server
from tests.redis_server import RedisServer
from workers.sandboxes.bases import find_base

ROUNDS = 40
WARM_ROUNDS = 5
AIM_SPAWN = 0.5
AIM_FORK = 0.35
AIM_OUTPUT = 3.0
PROGRAM = 'print("ready", flush=True)\n'
RQ_QUEUE = "bench"
RQ_SECONDS = 30


def main() -> int:
    """Print one line for each comparison. Always 0: it only measures."""
    with (
        directory() as place,
        _redis(place) as server,
        dev_server(place / "data", environment={"ARGOSY_REDIS": server.url}) as dev,
        _stock_worker(server) as queue,
    ):
        agent = place / "hello" / "agent.py"
        agent.parent.mkdir()
        agent.write_text(PROGRAM)
        dev.argosy("deploy", str(agent.parent))
        _measure(dev, queue, agent)
    return 0


def _measure(dev: DevServer, queue: Queue, agent: Path) -> None:
    python = find_base().python
    port = int(dev.url.rpartition(":")[2])
    claims: list[float] = []
    outputs: list[float] = []
    spawns: list[float] = []
    forks: list[float] = []
    bare: list[float] = []
    with Connection(port, KEY) as client:
        for number in range(WARM_ROUNDS + ROUNDS):
            claim, output = _request_run(client, port)
            spawn = _first_byte([python, "-S", "-I", "-c", PROGRAM])
            fork = _stock_job(queue)
            program = _first_byte([python, str(agent)])
            if number >= WARM_ROUNDS:
                claims.append(claim)
                outputs.append(output)
                spawns.append(spawn)
                forks.append(fork)
                bare.append(program)
    tell("run-claim-spawn", claims, spawns, aim=AIM_SPAWN)
    tell("run-claim-fork", claims, forks, aim=AIM_FORK)
    tell("run-output-bare", outputs, bare, aim=AIM_OUTPUT)
    after = [output - claim for claim, output in zip(claims, outputs, strict=True)]
    print(f"# from the claim to the first output {statistics.median(after) * 1e3:.1f} ms")


def _request_run(client: Connection, port: int) -> tuple[float, float]:
    """Seconds until the claim and until the agent's first line are at the client."""
    with Connection(port, KEY) as follower:
        started = time.monotonic()
        run = client.post("/v1/workspaces/default/deployments/hello/runs", {"message": "hello"})
        follower.follow(f"/v1/runs/{run['id']}/events")
        follower.wait_for(b'"detail":"claimed"')
        claimed = time.monotonic()
        follower.wait_for(b"event: message")
        spoke = time.monotonic()
        follower.wait_for(b"event: complete")
    return claimed - started, spoke - started


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
