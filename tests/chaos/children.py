"""Processes of the installation: started, started again when they die, signalled by their pid."""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.chaos.evidence import Death, Fault, Said
from tests.e2e.servers import ROOT
from workers.dev.processes import LEASH, PR_SET_CHILD_SUBREAPER

AGAIN_SECONDS = 0.1
AGAIN_BY_ITSELF_SECONDS = 0.5
POLL_SECONDS = 0.02
STOP_SECONDS = 20.0
SWEEP_SECONDS = 0.25
REDIS_AWAY = (
    "redis.exceptions.",
    "could not connect to Redis",
    "Failed to retrieve status for job",  # which it forgot while the job was done
)
# What the PostgreSQL driver leaves of a connection that was lost, and given up, while it was made.
GIVEN_UP = "ConnectionError('unexpected connection_lost() call')"

type Ready = Callable[["Child"], Awaitable[bool]]


class Child:
    """One process, through all its lives. `fault`: what it is going to die of, if that is known."""

    def __init__(
        self,
        name: str,
        part: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        logs: Path,
        ready: Ready,
    ) -> None:
        self.name = name
        self.part = part
        self.pid = 0
        self.fault: Fault | None = None
        self.asked = False
        self.stopped = False
        self.ready = asyncio.Event()
        self.dead = asyncio.Event()
        self.deaths: list[Death] = []
        self._command = command
        self._environment = environment
        self._logs = logs
        self._is_ready = ready
        self._lives = 0
        self._over = False
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def log(self) -> Path:
        """What this life of it says."""
        return self._logs / f"{self.name}.{self._lives}.log"

    @property
    def last_words(self) -> str:
        """The end of what its last but one life said, or this one."""
        logs = sorted(self._logs.glob(f"{self.name}.*.log"), key=lambda log: log.stat().st_mtime)
        return "\n".join(log.read_text(errors="replace")[-2000:] for log in logs[-2:])

    def begin(self) -> None:
        """Start it, and again whenever it dies, until `end`."""
        self._task = asyncio.create_task(self._live())

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it for good: killed if it takes longer than 20 s, which its death then says."""
        self._over = self.asked = True
        self.signal(number)
        assert self._task is not None
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._task), STOP_SECONDS)
        self.signal(signal.SIGKILL)
        await self._task

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def said(self) -> list[Said]:
        """Return what no process should have to say, of all its lives."""
        found: list[Said] = []
        for log in sorted(self._logs.glob(f"{self.name}.*.log")):
            lines = log.read_text(errors="replace").splitlines()
            found += [Said(name=log.stem, line=line[:2000]) for line in lines if is_trouble(line)]
        return found

    async def _live(self) -> None:
        while not self._over:
            await self._start()
            assert self._process is not None
            waiting = asyncio.create_task(self._wait_until_ready())
            code = await self._process.wait()
            waiting.cancel()
            was_ready = self.ready.is_set()
            self.ready.clear()
            by_itself = not (self.asked or self.fault)
            self.deaths.append(
                Death(
                    name=self.name,
                    pid=self.pid,
                    at=time.time(),
                    code=code,
                    asked=self.asked,
                    fault=self.fault.number if self.fault else 0,
                    ready=was_ready,
                )
            )
            self.asked, self.fault, self.stopped = self._over, None, False
            self.dead.set()
            if not self._over:
                await asyncio.sleep(AGAIN_BY_ITSELF_SECONDS if by_itself else AGAIN_SECONDS)

    async def _start(self) -> None:
        self._lives += 1
        with self.log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *self._command),
                cwd=ROOT,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.dead.clear()

    async def _wait_until_ready(self) -> None:
        while not await self._is_ready(self):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(POLL_SECONDS)
        self.ready.set()


def is_trouble(line: str) -> bool:
    """Whether a line of a log speaks of a bug.

    That Redis is away RQ calls an error, and asyncio a future that nobody needs: they are none.
    """
    if '"logger":"rq.worker"' in line and any(word in line for word in REDIS_AWAY):
        return False
    if '"logger":"asyncio"' in line and GIVEN_UP in line:
        return False
    return '"level":"error"' in line or line.startswith("Traceback")


async def says_ready(child: Child) -> bool:
    """Whether it has said `ready`."""
    return b'"event":"ready"' in child.log.read_bytes()


def listens(port: int) -> Ready:
    """Return what says whether somebody takes connections there."""

    async def ready(_: Child) -> bool:
        try:
            reader_and_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        reader_and_writer[1].close()
        return True

    return ready


def answers_ping(socket: Path) -> Ready:
    """Return what says whether a Redis answers on a unix socket."""

    async def ready(_child: Child) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(socket)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            async with asyncio.timeout(1):
                return await reader.readline() == b"+PONG\r\n"
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()

    return ready


class Orphans:
    """Adopts what dead children leave, reaps it, and remembers every process there ever was."""

    def __init__(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.known: set[int] = set()

    async def run(self, children: Sequence[Child]) -> None:
        """Look every now and then, for ever."""
        while True:
            self.look(children)
            await asyncio.sleep(SWEEP_SECONDS)

    def look(self, children: Sequence[Child]) -> None:
        """Look now."""
        ours = {child.pid for child in children}
        for process in descendants():
            self.known.add(process.pid)
            with suppress(psutil.Error, ChildProcessError):
                adopted = process.ppid() == os.getpid() and process.pid not in ours
                if adopted and process.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(process.pid, os.WNOHANG)


def descendants() -> list[psutil.Process]:
    """Return every process below this one."""
    return psutil.Process().children(recursive=True)
