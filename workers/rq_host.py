"""The RQ side of a host: takes hints from one queue, one for each free slot, in a thread.

A hint's RQ job ends when it is handed over, not when the work does: RQ's own bookkeeping of running
jobs (heartbeats, timeouts, abandonment) never applies to work, which leases look after.
`tests/contracts/test_rq.py` pins what is relied on of RQ.
"""

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout, StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import as_text

from adapters.connections import DOWN, connect_blocking
from adapters.job_queue import open_rq_queue
from adapters.live_streams import FIRST_PAUSE_SECONDS, Weather
from domain.jobs import stream_of

# How long one blocking read takes at most, which is also how soon a stop is noticed.
BLOCK_SECONDS = 1
HEARTBEAT_SECONDS = 10.0
# Whoever tells of work that was handed over just now is told that it is known. Less than
# `adapters.leases.CLAIM_SECONDS`, after which nobody is believed to have it.
TOLD_SECONDS = 3
WORKER_SECONDS = 60  # RQ's own record of this worker lasts so long after a heartbeat

log = structlog.stdlib.get_logger(__name__)


class Hints:
    """Takes hints until it is stopped; comes back by itself when Redis does.

    take: called in the thread with the stream of one hint, for which a slot was taken; whoever
        works on it gives the slot back with `free`.
    """

    def __init__(
        self, url: str, name: str, queue: str, slots: int, take: Callable[[str], None]
    ) -> None:
        self._url = url
        self._queue = queue
        self._name = name
        self._take = take
        self._slots = threading.Semaphore(slots)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hints", daemon=True)

    def start(self) -> None:
        """Begin to take hints."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more from now on."""
        self._stopping.set()
        self._slots.release()  # whoever waits for a slot shall look

    def join(self, seconds: float) -> None:
        """Wait until the thread is gone."""
        self._thread.join(seconds)

    def free(self) -> None:
        """Give a slot back."""
        self._slots.release()

    def _run(self) -> None:
        weather = Weather("hints")
        while not self._stopping.is_set():
            connection = connect_blocking(self._url)
            # RQ remembers a worker that lost its connection for a while: a name is used once.
            name = f"{self._name}-{secrets.token_hex(4)}"
            try:
                worker = HintWorker(
                    open_rq_queue(self._queue, connection),
                    name,
                    self._slots,
                    self._stopping,
                    self._take,
                    answered=weather.fine,
                )
                worker.work()
            except DOWN as error:
                pause = weather.broke(error)
            else:
                weather.fine()
                pause = FIRST_PAUSE_SECONDS
            finally:
                connection.close()
            self._stopping.wait(pause)


class HintWorker(SimpleWorker):
    """RQ's worker with its loop kept, and its own ways of waiting and of executing replaced."""

    def __init__(
        self,
        queue: Queue,
        name: str,
        slots: threading.Semaphore,
        stopping: threading.Event,
        take: Callable[[str], None],
        *,
        answered: Callable[[], None],
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]  # half of it is untyped
            [queue],
            name=name,
            connection=queue.connection,
            serializer=JSONSerializer,
            worker_ttl=WORKER_SECONDS,
        )
        self._slots = slots
        self._stopping = stopping
        self._take = take
        self._answered = answered
        self._beat_at = 0.0

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Wait for a free slot, then for a hint; None when the host stops.

        A hint is only taken off the queue when it can be worked on: else another host may.
        """
        del timeout, max_idle_time
        self._slots.acquire()
        taken = False
        try:
            while not self._stopping.is_set():
                self._beat()
                found = self._dequeue()
                if found is not None and self._stopping.is_set():
                    _put_back(*found)
                elif found is not None:
                    taken = True
                    return found
        except DOWN as error:  # RQ would wait for up to a minute; `Hints` starts over
            raise StopRequested from error
        finally:
            if not taken:
                self._slots.release()
        return None

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Hand the hint over and forget it."""
        try:
            stream = stream_of(job.id)
        except ValueError:
            log.warning("hint.unreadable", job=job.id)
            self._slots.release()
        else:
            self._take(stream)
        connection: Any = self.connection
        with connection.pipeline() as pipeline:
            pipeline.lrem(queue.intermediate_queue_key, 1, job.id)
            pipeline.expire(job.key, TOLD_SECONDS)
            pipeline.execute()

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Say every now and then that this worker lives; RQ would for every hint, twice."""
        now = time.monotonic()
        if now - self._beat_at >= HEARTBEAT_SECONDS:
            self._beat_at = now
            super().heartbeat(timeout, pipeline)
            self._answered()

    def subscribe(self) -> None:
        """Take no commands from RQ's channel: who stops a run is in the log."""

    def unsubscribe(self) -> None:
        """Nothing to undo."""

    def _install_signal_handlers(self) -> None:
        """Leave signals to the event loop; this is not the main thread."""

    def _beat(self) -> None:
        self.heartbeat()
        if self.should_run_maintenance_tasks:
            self.run_maintenance_tasks()

    def _dequeue(self) -> tuple[Job, Queue] | None:
        """Wait for a hint. Its id says all: what RQ keeps beside it would have to be fetched."""
        queue, connection = self.queues[0], self.connection
        blocking: Any = Queue  # Any: RQ leaves the type of the reply open
        try:
            _, id = blocking.lmove(connection, queue.key, BLOCK_SECONDS)
        except DequeueTimeout:
            return None
        return Job(as_text(id), connection=connection, serializer=JSONSerializer), queue


def _put_back(job: Job, queue: Queue) -> None:
    queue.push_job_id(job.id, at_front=True)
    queue.intermediate_queue.remove(job.id)
