"""Driving one program to its end: its output into the transcript, its limits kept."""

import asyncio
from collections.abc import Awaitable, Callable

from domain.limits import Limits
from domain.runs import Reason
from workers.harnesses.harness import Reader
from workers.outcomes import Verdict
from workers.programs import Program
from workers.sandboxes.driver import Exit, Output, Sandbox
from workers.transcripts import Transcript

# A line that was begun and not ended is shown when nothing came for so long.
QUIET_SECONDS = 0.1
# What a program may still do after it was told that its run is over.
LAST_WORDS_SECONDS = 5.0


class Cancel:
    """Somebody's wish that a run ends, for whoever runs it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.detail = ""

    def ask(self, detail: str) -> None:
        """Ask for the end; only the first wish counts."""
        if not self.asked.is_set():
            self.detail = detail
            self.asked.set()


class Halt:
    """The gateway's decision that a run is over, whatever its program still does."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.reason: Reason = ""
        self.detail = ""

    def ask(self, reason: Reason, detail: str) -> None:
        """Ask for the end; only the first reason counts."""
        if not self.asked.is_set():
            self.reason, self.detail = reason, detail
            self.asked.set()


class Pump:
    """Feeds a program's output to its reader and transcript, no faster than that is stored."""

    def __init__(
        self, sandbox: Sandbox, reader: Reader, transcript: Transcript, limits: Limits
    ) -> None:
        self._sandbox = sandbox
        self._reader = reader
        self._transcript = transcript
        self._limits = limits
        self._verdict: Verdict = ""
        self._quiet: asyncio.TimerHandle | None = None
        self._fed_at = 0.0

    async def run(
        self,
        program: Program,
        cancel: Cancel,
        started: Callable[[], Awaitable[None]],
        halt: Halt | None = None,
    ) -> tuple[Exit, Verdict]:
        """Follow the program and return how it ended, and why it was ended if it was.

        halt: lets the program end by itself for LAST_WORDS_SECONDS, so that it can say what it was
            refused; the verdict is `halted` either way.

        started: awaited first; none of the program's output is taken before. What it raises ends
            this. The time that the program may take counts from now.
        """
        halt = halt or Halt()
        watch = asyncio.create_task(self._watch(cancel, halt))
        output = program.output()
        try:
            await started()
            item = await anext(output)
            while isinstance(item, Output):
                await self._take(item)
                item = await anext(output)
            return item, self._verdict or ("halted" if halt.asked.is_set() else "")
        finally:
            if self._quiet is not None:
                self._quiet.cancel()
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            await output.aclose()

    async def _take(self, output: Output) -> None:
        if self._verdict == "output_limit":
            return
        self._transcript.add(self._reader.feed(output.stream, output.data))
        if self._reader.text_bytes > self._limits.output_kb * 1024:
            await self._end("output_limit")
            return
        loop = asyncio.get_running_loop()
        self._fed_at = loop.time()
        if self._quiet is None:
            self._quiet = loop.call_later(QUIET_SECONDS, self._flush_if_quiet)
        await self._transcript.room()

    def _flush_if_quiet(self) -> None:
        loop = asyncio.get_running_loop()
        left = self._fed_at + QUIET_SECONDS - loop.time()
        if left > 0:
            self._quiet = loop.call_later(left, self._flush_if_quiet)
        else:
            self._quiet = None
            self._transcript.add(self._reader.flush())

    async def _watch(self, cancel: Cancel, halt: Halt) -> None:
        """End the program when somebody asks for it, or when its time is up."""
        try:
            async with asyncio.timeout(self._limits.seconds) as limit:
                await _first(cancel.asked, halt.asked)
                if not cancel.asked.is_set():
                    last = asyncio.get_running_loop().time() + LAST_WORDS_SECONDS
                    limit.reschedule(min(last, limit.when() or last))
                    await cancel.asked.wait()
        except TimeoutError:
            await self._end("halted" if halt.asked.is_set() else "timed_out")
        else:
            await self._end("cancelled")

    async def _end(self, verdict: Verdict) -> None:
        self._verdict = self._verdict or verdict
        await self._sandbox.kill()


async def _first(*events: asyncio.Event) -> None:
    """Return when one of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
