"""The RQ side of a build worker: RQ's forking worker, whose horse dies with it.

RQ's own horse survives a worker that is killed, and would build on beside the one that takes over.
"""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

import structlog
from rq import Queue, Worker
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from adapters.connections import DOWN, connect_blocking
from adapters.job_queue import open_rq_queue
from adapters.live_streams import FIRST_PAUSE_SECONDS, Weather
from domain.jobs import BUILDS
from workers.envelopes import new_owner

PR_SET_PDEATHSIG = 1
# A blocking read takes at most so long, less 15 s; see RQ's `dequeue_timeout`.
WORKER_SECONDS = 20
SWEEP_EVERY_SECONDS = 15.0

log = structlog.stdlib.get_logger(__name__)


class BuildWorker(Worker):
    """Takes one build at a time from one queue.

    sweep: removes what killed workers left; called now and then while there is no build.
    stopping: set once somebody asked for the end, also before RQ listens to signals. RQ itself
    stops by an exception out of its signal handler, which whatever code it interrupts may swallow.
    """

    max_connection_wait_time = 1.0
    stopping: threading.Event
    sweep: Callable[[], None]
    _swept_at = -SWEEP_EVERY_SECONDS

    def _install_signal_handlers(self) -> None:
        parent: Any = super()  # Any: untyped in RQ
        parent._install_signal_handlers()  # noqa: SLF001
        self._stop_requested = self.stopping.is_set()

    def heartbeat(self, *given: Any, **named: Any) -> None:
        """Notice, between two waits for a job, a stop that got lost, and sweep. Any: RQ's."""
        if self.get_state() != WorkerStatus.BUSY:
            if self.stopping.is_set():
                raise StopRequested
            if time.monotonic() - self._swept_at >= SWEEP_EVERY_SECONDS:
                self.sweep()
                self._swept_at = time.monotonic()
        parent: Any = super()
        parent.heartbeat(*given, **named)

    def main_work_horse(self, job: Job, queue: Queue) -> NoReturn:
        """Do the job in the forked process, for as long as its worker lives."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # The worker died before the first line, or was stopped before the second.
        if os.getppid() != self.pid or self.stopping.is_set():
            os._exit(1)
        super().main_work_horse(job, queue)

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Execution) -> None:
        """Wait for the horse, and forget its id: somebody else may get it."""
        try:
            super().monitor_work_horse(job, queue, execution)
        finally:
            self._horse_pid = 0

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Stop after the build, which its horse finishes in time or hands back."""
        self.stopping.set()
        parent: Any = super()
        parent.request_stop(signum, frame)

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """Have the build handed back at once; RQ would kill the horse."""
        del signum, frame
        self.handle_warm_shutdown_request()

    def handle_warm_shutdown_request(self) -> None:
        """Tell the horse."""
        if self.horse_pid:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGTERM)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Keep RQ's record of the job; without Redis the build goes on all the same."""
        try:
            super().maintain_heartbeats(job, execution)
        except DOWN as error:
            log.warning("redis.lost", part="builds", error=str(error))

    def subscribe(self) -> None:
        """Take no commands from RQ's channel: only a process with one thread may fork."""

    def unsubscribe(self) -> None:
        """Nothing to undo."""


def work_builds(url: str, sweep: Callable[[], None]) -> None:
    """Take builds until SIGTERM or SIGINT, coming back by itself when Redis does.

    To be called in the main thread of a process that has no other, and no event loop.
    """
    stopping = threading.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    weather = Weather("builds")
    while not stopping.is_set():
        for number in (signal.SIGTERM, signal.SIGINT):  # RQ puts its own in their place
            signal.signal(number, note)
        connection = connect_blocking(url)
        try:
            worker = BuildWorker(  # pyright: ignore[reportUnknownMemberType]  # half is untyped
                [open_rq_queue(BUILDS, connection)],
                name=new_owner("build"),
                connection=connection,
                serializer=JSONSerializer,
                worker_ttl=WORKER_SECONDS,
            )
            worker.stopping = stopping
            worker.sweep = sweep
            worker.work()
        except DOWN as error:
            pause = weather.broke(error)
        else:
            weather.fine()
            pause = FIRST_PAUSE_SECONDS
        finally:
            connection.close()
        stopping.wait(pause)
