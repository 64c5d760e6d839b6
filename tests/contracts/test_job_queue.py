"""The promises of JobQueue, on fakeredis and on a real server."""

import json
import zlib
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
import redis
from rq import Queue
from rq.job import JobStatus

from adapters.connections import connect_blocking
from adapters.job_queue import FUNCTIONS, RqQueue, open_rq_queue
from domain.errors import Unavailable
from domain.jobs import BUILDS, RUNS, Job
from tests.redis_server import RedisServer, empty

RUN = Job(RUNS, "run-0192-1", "run-0192")
BUILD = Job(BUILDS, "build-0193-1", "build-0193")


@pytest.fixture(params=["fakeredis", "real"])
def connection(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """One connection per kind of server."""
    if request.param == "fakeredis":
        client: redis.Redis = fakeredis.FakeRedis()
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        client = connect_blocking(server.url)
    yield client
    client.close()


def waiting(connection: redis.Redis, name: str) -> list[str]:
    return open_rq_queue(name, connection).get_job_ids()


def pop(connection: redis.Redis, name: str) -> str:
    """Take a job as a worker does, and die before doing anything with it."""
    queue = open_rq_queue(name, connection)
    found = Queue.dequeue_any([queue], None, connection=connection, serializer=queue.serializer)
    assert found is not None
    return found[0].id


async def test_jobs_wait_in_their_own_queue_in_order(connection: redis.Redis) -> None:
    second = Job(RUNS, "run-0194-1", "run-0194")

    await RqQueue(connection).enqueue([RUN, BUILD, second])

    assert waiting(connection, RUNS) == [RUN.id, second.id]
    assert waiting(connection, BUILDS) == [BUILD.id]


async def test_a_job_is_a_name_and_an_id_in_json(connection: redis.Redis) -> None:
    await RqQueue(connection).enqueue([RUN])

    job: Any = open_rq_queue(RUNS, connection).fetch_job(RUN.id)
    assert job.func_name == FUNCTIONS[RUNS]
    assert list(job.args) == [RUN.stream]
    stored = connection.hget(job.key, "data")
    assert isinstance(stored, bytes)
    assert json.loads(_inflated(stored)) == [FUNCTIONS[RUNS], None, [RUN.stream], {}]


async def test_telling_twice_queues_once(connection: redis.Redis) -> None:
    queue = RqQueue(connection)

    await queue.enqueue([RUN, RUN])
    await queue.enqueue([RUN])

    assert waiting(connection, RUNS) == [RUN.id]


async def test_a_hint_is_the_job_that_would_be_queued(connection: redis.Redis) -> None:
    queue = RqQueue(connection)
    look: Any = connection  # Any: redis-py leaves replies open

    assert look.execute_command(*queue.hint(RUN)) == 1

    assert waiting(connection, RUNS) == [RUN.id]
    hinted: Any = open_rq_queue(RUNS, connection).fetch_job(RUN.id)
    empty(connection)
    await queue.enqueue([RUN])
    queued: Any = open_rq_queue(RUNS, connection).fetch_job(RUN.id)
    one, other = hinted.to_dict(), queued.to_dict()
    for name in ("created_at", "enqueued_at"):
        assert one.pop(name)[:10] == other.pop(name)[:10]
    assert json.loads(_inflated(one.pop("data"))) == json.loads(_inflated(other.pop("data")))
    assert one == other


async def test_a_hint_and_telling_queue_once(connection: redis.Redis) -> None:
    queue = RqQueue(connection)
    look: Any = connection  # Any: as above

    for _ in range(2):
        look.execute_command(*queue.hint(RUN))
    await queue.enqueue([RUN])
    await queue.enqueue([RUN], again=True)

    assert waiting(connection, RUNS) == [RUN.id]


async def test_a_job_that_died_with_its_worker_can_be_queued_again(
    connection: redis.Redis,
) -> None:
    queue = RqQueue(connection)
    await queue.enqueue([RUN])
    assert pop(connection, RUNS) == RUN.id
    await queue.enqueue([RUN])
    assert waiting(connection, RUNS) == []  # it may be at work

    await queue.enqueue([RUN], again=True)

    assert waiting(connection, RUNS) == [RUN.id]
    assert open_rq_queue(RUNS, connection).intermediate_queue.get_job_ids() == []


async def test_a_job_that_failed_can_be_queued_again(connection: redis.Redis) -> None:
    queue = RqQueue(connection)
    await queue.enqueue([RUN])
    pop(connection, RUNS)
    rq_queue = open_rq_queue(RUNS, connection)
    job = rq_queue.fetch_job(RUN.id)
    assert job is not None
    job.set_status(JobStatus.FAILED)
    registry: Any = rq_queue.failed_job_registry  # Any: half of RQ's parameters are untyped
    registry.add(job)

    await queue.enqueue([RUN], again=True)

    assert waiting(connection, RUNS) == [RUN.id]
    assert registry.get_job_ids() == []


async def test_after_the_server_lost_everything_jobs_can_be_queued_again(
    connection: redis.Redis,
) -> None:
    queue = RqQueue(connection)
    await queue.enqueue([RUN])
    empty(connection)

    await queue.enqueue([RUN])

    assert waiting(connection, RUNS) == [RUN.id]


async def test_a_server_that_is_away_is_unavailable_and_later_is_used_again(
    redis_server: RedisServer,
) -> None:
    queue = RqQueue(connect_blocking(redis_server.url))
    await queue.enqueue([RUN])
    redis_server.kill()

    with pytest.raises(Unavailable):
        await queue.enqueue([BUILD])

    redis_server.start()
    await queue.enqueue([RUN, BUILD])
    with redis_server.client() as client:
        assert waiting(client, RUNS) == [RUN.id]
        assert waiting(client, BUILDS) == [BUILD.id]
    await queue.close()


async def test_a_thousand_jobs_are_told_within_seconds(redis_server: RedisServer) -> None:
    queue = RqQueue(connect_blocking(redis_server.url))

    await queue.enqueue([Job(RUNS, f"run-{n}-1", f"run-{n}") for n in range(1000)])

    with redis_server.client() as client:
        assert len(waiting(client, RUNS)) == 1000
    await queue.close()


def _inflated(data: bytes) -> bytes:
    return zlib.decompress(data)
