"""Telling other processes what this one has appended: work, live frames, and that the log grew."""

import asyncio
from collections import deque

import msgspec

from adapters.job_queue import RqQueue
from adapters.live_streams import RedisLiveStreams
from domain.jobs import Job, jobs_for
from domain.live import live_view
from domain.ports import Appended, Frame

FOLLOWED = ("run-", "build-")  # streams whose events people follow live
PENDING_JOBS = 1024  # the dispatcher tells of those that are dropped
PENDING_FRAMES = 4096  # what waits for a slow Redis; older frames are dropped, SQL has them
BATCH_FRAMES = 256
LAST_SECONDS = 1.0  # for what is pending when the process ends


class Announcer:
    """Sends after commit, in the order of commits, without holding up whoever appended.

    Work that can start is told to the queue at once: the dispatcher, which makes sure of it, comes
    later on purpose. Both use the same job ids, so nothing is queued twice.
    """

    def __init__(self, live: RedisLiveStreams, queue: RqQueue) -> None:
        self._live = live
        self._queue = queue
        self._jobs: deque[Job] = deque(maxlen=PENDING_JOBS)
        self._frames: deque[Frame] = deque(maxlen=PENDING_FRAMES)
        self._position = 0
        self._hurry = False
        self._something = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def committed(self, appended: Appended) -> None:
        """Take what an append wrote; called on the event loop, in the order of commits."""
        for recorded in appended.recorded:
            if recorded.stream.startswith(FOLLOWED):
                data = msgspec.json.encode(live_view(recorded))
                self._frames.append((recorded.stream, recorded.version, data))
            if recorded.position is not None:
                self._position = max(self._position, recorded.position)
                self._jobs += [
                    job for job in jobs_for(recorded) if isinstance(job, Job) and not job.after
                ]
        self._something.set()
        self._idle.clear()

    def hurry(self) -> None:
        """Say that a list of this process waits for the read models."""
        self._hurry = True
        self._something.set()
        self._idle.clear()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            await self._something.wait()
            self._something.clear()
            while self._frames or self._position or self._hurry:
                count = min(len(self._frames), BATCH_FRAMES)
                frames = [self._frames.popleft() for _ in range(count)]
                position, self._position = self._position, 0
                hurry, self._hurry = self._hurry, False
                hints = [self._queue.hint(job) for job in self._jobs]
                self._jobs.clear()
                await self._live.publish(frames, position=position, hurry=hurry, before=hints)
            self._idle.set()

    async def flush(self) -> None:
        """Return when nothing is pending, or after a second."""
        try:
            await asyncio.wait_for(self._idle.wait(), LAST_SECONDS)
        except TimeoutError:
            return
