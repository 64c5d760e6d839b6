"""Hints that there is work, carried by RQ: JSON, ids only, one waiting job per id."""

import asyncio
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import redis
from rq import Queue
from rq.exceptions import DuplicateJobError
from rq.job import Job as RqJob
from rq.scripts import UNIQUE_ENQUEUE_SCRIPT
from rq.serializers import JSONSerializer
from rq.utils import utcformat

from adapters.connections import DOWN
from adapters.live_streams import Weather
from domain.errors import Unavailable
from domain.jobs import BUILDS, RUNS, Job

# What RQ calls, by name, so that whoever enqueues need not be able to import it.
FUNCTIONS = {RUNS: "workers.jobs.host_run", BUILDS: "workers.jobs.run_build"}

# The truth is in SQL: a job that went well is forgotten at once, one that raised (a bug) is kept
# for whoever looks for the traceback. No timeout of RQ's: the lease is what limits a worker.
RESULT_SECONDS = 0
FAILURE_SECONDS = 3600
NO_TIMEOUT = -1


class RqQueue:
    """JobQueue over RQ."""

    def __init__(self, connection: redis.Redis) -> None:
        self._connection = connection
        self._weather = Weather("queue")

    async def enqueue(self, jobs: Sequence[Job], *, again: bool = False) -> None:
        """Tell the workers; what is queued, or was handed over just now, is not told twice.

        again: the caller knows from SQL that nobody took the work: an id that RQ remembers without
            having it queued (popped by a worker that died, finished, failed) is queued anew.
        Raises Unavailable when the server cannot be reached; what was queued by then stays queued.
        """
        if jobs:
            await asyncio.to_thread(self._enqueue, jobs, again=again)

    def hint(self, job: Job) -> tuple[Any, ...]:
        """Return the command that tells of a job as `enqueue` does, for whoever sends some anyway.

        The set of all queues, which RQ's own tools list, is left to `enqueue`.
        """
        function, now = FUNCTIONS[job.queue], utcformat(datetime.now(UTC))
        # RQ makes such a job in ten times the time, and whoever appends waits for it.
        fields = {
            "created_at": now,
            "data": zlib.compress(msgspec.json.encode((function, None, (job.stream,), {}))),
            "origin": job.queue,
            "description": f"{function}({job.stream!r})",
            "enqueued_at": now,
            "timeout": NO_TIMEOUT,
            "result_ttl": RESULT_SECONDS,
            "failure_ttl": FAILURE_SECONDS,
            "status": "queued",
        }
        words = [each for pair in fields.items() for each in pair]
        keys = (RqJob.key_for(job.id), f"{Queue.redis_queue_namespace_prefix}{job.queue}")
        return ("EVAL", UNIQUE_ENQUEUE_SCRIPT, len(keys), *keys, job.id, "R", -1, *words)

    async def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()

    def _enqueue(self, jobs: Sequence[Job], *, again: bool) -> None:
        try:
            for job in jobs:
                self._enqueue_one(job, again=again)
        except DOWN as error:
            self._weather.broke(error)
            raise Unavailable(f"The job queue cannot be reached: {error}") from error
        self._weather.fine()

    def _enqueue_one(self, job: Job, *, again: bool) -> None:
        queue = open_rq_queue(job.queue, self._connection)
        try:
            _push(queue, job)
        except DuplicateJobError:
            if not again or queue.get_job_position(job.id) is not None:
                return
            _forget(queue, job.id)
            try:
                _push(queue, job)
            except DuplicateJobError:
                return  # another process queued it in between


def open_rq_queue(name: str, connection: redis.Redis) -> Queue:
    """Return RQ's queue as every process here must open it: never with pickle."""
    return Queue(name, connection=connection, serializer=JSONSerializer)


def _push(queue: Queue, job: Job) -> None:
    # The job itself goes out at once; only RQ's set of all queues waits for the pipeline.
    connection: Any = queue.connection  # Any: redis-py leaves half of a pipeline's type open
    with connection.pipeline() as after:
        queue.enqueue(  # pyright: ignore[reportUnknownMemberType]  # RQ's *args are untyped
            FUNCTIONS[job.queue],
            args=(job.stream,),
            job_id=job.id,
            unique=True,
            result_ttl=RESULT_SECONDS,
            failure_ttl=FAILURE_SECONDS,
            job_timeout=NO_TIMEOUT,
            pipeline=after,
        )
        after.execute()


def _forget(queue: Queue, job_id: str) -> None:
    stale = queue.fetch_job(job_id)
    if stale is not None:  # it may have ended between the two looks
        stale.delete()
    queue.intermediate_queue.remove(job_id)
