"""What is relied on of RQ, on the pinned version, and what the two workers make of it."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout, DuplicateJobError
from rq.serializers import JSONSerializer
from rq.version import VERSION

from adapters.connections import connect_blocking
from adapters.job_queue import open_rq_queue
from adapters.leases import CLAIM_SECONDS
from domain.jobs import RUNS
from tests.redis_server import RedisServer, empty, wait_until
from workers.rq_host import Hints

SECONDS = 10.0


@pytest.fixture
def connection(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A connection as everything here makes them."""
    client = connect_blocking(redis_server.url)
    yield client
    client.close()


def enqueue(connection: redis.Redis, stream: str, **options: Any) -> Any:
    queue: Any = open_rq_queue(RUNS, connection)  # Any: RQ's *args are untyped
    named = {"job_id": f"{stream}-1"} | options
    return queue.enqueue("workers.jobs.host_run", args=(stream,), **named)


class Host:
    """Collects what is handed over."""

    def __init__(self, url: str, slots: int = 100) -> None:
        self.taken: list[tuple[str, float]] = []
        self.hints = Hints(url, "host-test", RUNS, slots, self._take)
        self.hints.start()

    @property
    def streams(self) -> list[str]:
        return [stream for stream, _ in self.taken]

    def _take(self, stream: str) -> None:
        self.taken.append((stream, time.monotonic()))

    def stop(self) -> None:
        self.hints.stop()
        self.hints.join(SECONDS)


@pytest.fixture
def host(redis_server: RedisServer) -> Iterator[Host]:
    """A run host's hints."""
    started = Host(redis_server.url)
    yield started
    started.stop()


def test_the_version_is_the_one_that_was_tried() -> None:
    assert VERSION.startswith("3.0.")


def test_unique_ids_are_taken_while_the_job_is_kept(connection: redis.Redis) -> None:
    enqueue(connection, "run-1", job_id="run-1-1", unique=True)

    with pytest.raises(DuplicateJobError):
        enqueue(connection, "run-1", job_id="run-1-1", unique=True)


def test_one_queue_is_read_with_a_safety_copy(connection: redis.Redis) -> None:
    """On two queues RQ pops without one; this is why a worker listens to one."""
    job = enqueue(connection, "run-1")
    queue = open_rq_queue(RUNS, connection)

    Queue.dequeue_any([queue], 1, connection=connection, serializer=JSONSerializer)
    assert queue.intermediate_queue.get_job_ids() == [job.id]

    queue.intermediate_queue.remove(job.id)
    job = enqueue(connection, "run-3")
    look: Any = Queue  # Any: RQ leaves the type of the reply open
    assert look.lmove(connection, queue.key, 1) == (queue.key, job.id.encode())
    assert queue.intermediate_queue.get_job_ids() == [job.id]

    queue.intermediate_queue.remove(job.id)
    enqueue(connection, "run-2")
    other = open_rq_queue("other", connection)
    Queue.dequeue_any([queue, other], 1, connection=connection, serializer=JSONSerializer)
    assert queue.intermediate_queue.get_job_ids() == []


def test_an_empty_queue_raises_when_its_time_is_up(connection: redis.Redis) -> None:
    with pytest.raises(DequeueTimeout):
        Queue.lmove(connection, open_rq_queue(RUNS, connection).key, 1)


def test_the_methods_that_are_replaced_exist() -> None:
    for name in ("dequeue_job_and_maintain_ttl", "execute_job", "_install_signal_handlers"):
        assert callable(getattr(SimpleWorker, name))


def test_a_hint_is_handed_over_and_is_remembered_for_a_moment(
    host: Host, connection: redis.Redis
) -> None:
    enqueue(connection, "run-1", job_id="run-1-1", unique=True)
    wait_until(lambda: host.streams == ["run-1"], SECONDS, "the hint")

    host.stop()

    look: Any = connection  # Any: redis-py leaves keyword arguments open
    assert look.keys("rq:job*") == [b"rq:job:run-1-1"]
    assert 0 < look.ttl("rq:job:run-1-1") < CLAIM_SECONDS
    assert look.keys("rq:queue:*") == []
    assert look.keys("rq:wip:*") == []


def test_hints_come_within_milliseconds(host: Host, connection: redis.Redis) -> None:
    enqueue(connection, "run-0")
    wait_until(lambda: len(host.taken) == 1, SECONDS, "the first hint")

    took: list[float] = []
    for n in range(30):
        start = time.monotonic()
        enqueue(connection, f"run-{n}")
        wait_until(lambda: len(host.taken) == len(took) + 2, SECONDS, "the hint")
        took.append(host.taken[-1][1] - start)

    assert sorted(took)[15] < 0.05


def test_no_more_hints_are_taken_than_there_are_slots(
    redis_server: RedisServer, connection: redis.Redis
) -> None:
    host = Host(redis_server.url, slots=2)
    for n in range(5):
        enqueue(connection, f"run-{n}")
    wait_until(lambda: len(host.taken) == 2, SECONDS, "two hints")
    queue = open_rq_queue(RUNS, connection)
    assert queue.get_job_ids() == ["run-2-1", "run-3-1", "run-4-1"]  # for another host to take

    host.hints.free()

    wait_until(lambda: len(host.taken) == 3, SECONDS, "the third hint")
    assert queue.get_job_ids() == ["run-3-1", "run-4-1"]
    host.stop()


def test_a_stop_is_quick_and_leaves_what_waits(
    redis_server: RedisServer, connection: redis.Redis
) -> None:
    host = Host(redis_server.url)
    enqueue(connection, "run-1")
    wait_until(lambda: len(host.taken) == 1, SECONDS, "the hint")
    start = time.monotonic()

    host.stop()

    assert time.monotonic() - start < 3
    assert not any(thread.name == "hints" for thread in threading.enumerate())
    job = enqueue(connection, "run-2")
    assert open_rq_queue(RUNS, connection).get_job_ids() == [job.id]


def test_a_host_comes_back_when_the_server_does(host: Host, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        enqueue(client, "run-1")
        wait_until(lambda: host.streams == ["run-1"], SECONDS, "the hint")
    redis_server.kill()
    redis_server.start()

    with redis_server.client() as client:
        enqueue(client, "run-2")
        wait_until(lambda: host.streams == ["run-1", "run-2"], SECONDS, "the second hint")


def test_a_host_starts_before_its_server(redis_server: RedisServer) -> None:
    redis_server.kill()
    host = Host(redis_server.url)
    redis_server.start()

    with redis_server.client() as client:
        enqueue(client, "run-1")
        wait_until(lambda: host.streams == ["run-1"], SECONDS, "the hint")
    host.stop()


def test_a_host_goes_on_when_the_server_was_emptied(host: Host, connection: redis.Redis) -> None:
    enqueue(connection, "run-1")
    wait_until(lambda: host.streams == ["run-1"], SECONDS, "the hint")
    empty(connection)

    enqueue(connection, "run-2")

    wait_until(lambda: host.streams == ["run-1", "run-2"], SECONDS, "the second hint")


def test_a_stop_while_the_server_is_away_is_quick(redis_server: RedisServer) -> None:
    host = Host(redis_server.url)
    redis_server.kill()
    start = time.monotonic()

    host.stop()

    assert time.monotonic() - start < 5


def test_a_hint_that_cannot_be_read_stops_nothing(host: Host, connection: redis.Redis) -> None:
    for bad in ("bad", "run-one", "-1"):
        enqueue(connection, "run-1", job_id=bad)
    enqueue(connection, "run-2")

    wait_until(lambda: host.streams == ["run-2"], SECONDS, "the hint after them")
    assert open_rq_queue(RUNS, connection).intermediate_queue.get_job_ids() == []
