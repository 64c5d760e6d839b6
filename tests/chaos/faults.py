"""Doing what the schedule says to the installation, and noting when it was done and undone."""

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing, suppress

import psutil

from adapters.event_store.asyncpg_types import LOST, PostgresError, connect
from tests.chaos.children import Child, descendants
from tests.chaos.evidence import Fault
from tests.chaos.installation import Installation
from tests.chaos.plan import Stroke

FIND_SECONDS = 4.0  # for something to appear that can be hit
BACK_SECONDS = 40.0
LOOK_SECONDS = 0.25
SANDBOX = "argosy-"


class Chaos:
    """Strikes one installation; `faults` is what was done, `missed` what found nothing to hit."""

    def __init__(self, installation: Installation, say: Callable[[str], None]) -> None:
        self.faults: list[Fault] = []
        self.missed: list[str] = []
        self._installation = installation
        self._say = say
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, strokes: Sequence[Stroke]) -> None:
        """Do all of it; returns when everything serves again."""
        for stroke in strokes:
            await asyncio.sleep(stroke.pause)
            await self._strike(stroke)
        if self._under_way:
            await asyncio.wait(self._under_way)
        async with asyncio.timeout(BACK_SECONDS):
            for child in self._installation.children:
                await child.ready.wait()

    async def _strike(self, stroke: Stroke) -> None:
        match stroke.part:
            case "sandbox":
                await self._strike_sandbox(stroke)
            case "disk":
                self._in_background(self._fill(stroke))
            case "postgres" if stroke.action == "kill a backend":
                await self._kill_backend(stroke)
            case _:
                self._strike_process(stroke)

    def _strike_process(self, stroke: Stroke) -> None:
        """Hit one of the part's processes that is not hit already."""
        there = [
            child
            for child in self._installation.children
            if child.part == stroke.part and child.fault is None and not child.stopped
        ]
        if not there:
            self._miss(stroke)
            return
        child = there[stroke.rank % len(there)]
        fault = self._begin(stroke, child.name, child.pid)
        match stroke.action:
            case "kill":
                child.fault = fault
                child.signal(signal.SIGKILL)
                self._in_background(self._until_back(child, fault))
            case "restart":
                child.fault, child.asked = fault, True
                # PostgreSQL would wait for its clients to go, who are asked nothing.
                child.signal(signal.SIGINT if stroke.part == "postgres" else signal.SIGTERM)
                self._in_background(self._until_back(child, fault))
            case "restart at once":
                child.fault = fault
                child.signal(signal.SIGQUIT)
                self._in_background(self._until_back(child, fault))
            case _:
                self._in_background(self._stop(child, fault, stroke.seconds))

    async def _until_back(self, child: Child, fault: Fault) -> None:
        """Wait until the process that died has a successor that is ready."""
        async with asyncio.timeout(BACK_SECONDS):
            while child.fault is fault:  # noqa: ASYNC110 - a process's end has no event of ours
                await asyncio.sleep(0.01)
            await child.ready.wait()
        fault.back = time.time()

    async def _stop(self, child: Child, fault: Fault, seconds: float) -> None:
        """Let a process stand still, and watch whether it thereby keeps everybody from writing."""
        pid = child.pid
        child.stopped = True
        child.signal(signal.SIGSTOP)
        backends = _stop_backends(pid) if child.part == "postgres" else []
        until = time.monotonic() + seconds
        looks = blocked = 0
        while (left := until - time.monotonic()) > 0:
            looks += 1
            blocked += not await self._log_can_be_written(min(LOOK_SECONDS, left))
            await asyncio.sleep(min(LOOK_SECONDS, max(0.0, until - time.monotonic())))
        fault.froze_log = blocked == looks
        if child.pid == pid:
            child.stopped = False
            child.signal(signal.SIGCONT)
        for backend in backends:
            with suppress(psutil.Error):
                backend.resume()
        fault.back = time.time()

    async def _log_can_be_written(self, seconds: float) -> bool:
        if self._installation.database_url:
            return await _postgres_lets_write(self._installation.database_url, seconds)
        return await asyncio.to_thread(_sqlite_lets_write, self._installation, seconds)

    async def _strike_sandbox(self, stroke: Stroke) -> None:
        deadline = time.monotonic() + FIND_SECONDS
        while not (there := await asyncio.to_thread(_sandboxed)):
            if time.monotonic() > deadline:
                self._miss(stroke)
                return
            await asyncio.sleep(0.05)
        name, pid = there[stroke.rank % len(there)]
        fault = self._begin(stroke, "sandbox", pid, name)
        with suppress(ProcessLookupError):
            if stroke.action == "kill":
                os.kill(pid, signal.SIGKILL)
                fault.back = time.time()
                return
            os.kill(pid, signal.SIGSTOP)
            self._in_background(_continue(pid, fault, stroke.seconds))

    async def _fill(self, stroke: Stroke) -> None:
        """Leave no byte of the data directory's disk for a while."""
        disk = self._installation.disk
        fault = self._begin(stroke, "disk", 0)
        filler = disk / "filler"
        with filler.open("wb") as file:
            free = os.statvfs(disk)
            os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize))
        await asyncio.sleep(stroke.seconds)
        filler.unlink()
        fault.back = time.time()

    async def _kill_backend(self, stroke: Stroke) -> None:
        server = self._installation.child("postgres")
        there: list[int] = []
        with suppress(psutil.Error):
            for each in psutil.Process(server.pid).children():
                with suppress(psutil.Error):
                    if " 127.0.0.1(" in " ".join(each.cmdline()):
                        there.append(each.pid)
        if server.fault or not there:
            self._miss(stroke)
            return
        pid = sorted(there)[stroke.rank % len(there)]
        fault = self._begin(stroke, "postgres", pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._in_background(self._until_answers(fault))

    async def _until_answers(self, fault: Fault) -> None:
        await asyncio.sleep(0.1)  # it has to notice first
        async with asyncio.timeout(BACK_SECONDS):
            url = self._installation.database_url
            while not await _postgres_lets_write(url, 1.0):  # noqa: ASYNC110 - it is asked
                await asyncio.sleep(0.05)
        fault.back = time.time()

    def _begin(self, stroke: Stroke, name: str, pid: int, detail: str = "") -> Fault:
        fault = Fault(
            number=stroke.number,
            part=stroke.part,
            name=name,
            action=stroke.action,
            began=time.time(),
            pid=pid,
            detail=detail,
        )
        self.faults.append(fault)
        self._say(f"{stroke.number:>4}  {stroke.action}: {name}")
        return fault

    def _miss(self, stroke: Stroke) -> None:
        self.missed.append(f"{stroke.number}: {stroke.action} {stroke.part}")
        self._say(f"{stroke.number:>4}  {stroke.action}: no {stroke.part} to hit")

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._say(f"      a fault could not be undone: {error!r}")


def _stop_backends(server: int) -> list[psutil.Process]:
    """Stop what PostgreSQL answers with, too. It starts nothing more meanwhile."""
    stopped: list[psutil.Process] = []
    with suppress(psutil.Error):
        stopped = psutil.Process(server).children()
    for each in stopped:
        with suppress(psutil.Error):
            each.suspend()
    return stopped


async def _continue(pid: int, fault: Fault, seconds: float) -> None:
    await asyncio.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    fault.back = time.time()


def _sandboxed() -> list[tuple[str, int]]:
    """Return name and one process of every sandbox there is below us, in order of their names.

    The process is the innermost that can be found: the program, else what started it.
    """
    found: list[tuple[str, int]] = []
    for process in descendants():
        with suppress(psutil.Error):
            words = process.cmdline()
            if not words or not words[-1].startswith(SANDBOX) or process.name() != "bwrap":
                continue
            if any(each.name() == "bwrap" for each in process.parents()):
                continue
            inner = [each.pid for each in process.children(recursive=True)]
            found.append((words[-1], (inner or [process.pid])[-1]))
    return sorted(found)


def _sqlite_lets_write(installation: Installation, seconds: float) -> bool:
    try:
        path = installation.data / "log.db"
        with closing(sqlite3.connect(path, timeout=seconds, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return True


async def _postgres_lets_write(url: str, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds + 1):
            connection = await connect(url, timeout=5)
            try:
                await connection.execute(f"SET lock_timeout = {max(1, round(seconds * 1000))}")
                await connection.execute("SELECT position FROM log_head FOR UPDATE")
            finally:
                connection.terminate()
    except (PostgresError, TimeoutError, *LOST):
        return False
    return True
