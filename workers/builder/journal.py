"""What a build says while it goes on: its log, its plan, and how long each step took."""

import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

from msgspec.structs import replace

from domain.builds import AGAIN, BuildEnded, BuildHow, BuildPlanned, BuildRequested, BuildStep
from domain.entries import BuildLogged, LogStream
from domain.errors import ArgosyError
from domain.execution import Artifact, Mode
from workers.builder.failures import MAX_LINE, Failure

type Log = Callable[[BuildLogged], Awaitable[None]]
type Planned = Callable[[BuildPlanned], Awaitable[None]]


def cut(text: str) -> str:
    """Return as much of it as is kept: it may quote what strangers say, at any length."""
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 1]}…"


class CallbackRaised(Exception):
    """The caller's own error, on its way through the build to the caller."""

    def __init__(self, error: ArgosyError) -> None:
        super().__init__(error)
        self._error = error

    def reraise(self) -> NoReturn:
        """Raise the caller's error."""
        raise self._error from None


class Journal:
    """Of one build. What the callbacks raise comes out as CallbackRaised.

    step: the one that the build is at. heard: the last line of a program in it.
    evidence: what every plan begins with. planned: whether the plan is known.
    """

    def __init__(
        self, request: BuildRequested, attempt: int, on_log: Log, on_plan: Planned
    ) -> None:
        self.step = "plan"
        self.heard = ""
        self.evidence = ""
        self.planned = False
        self.cached = False  # whether the step at hand was answered from a cache
        self._began = time.monotonic()
        self._steps: list[BuildStep] = []
        self._request = request
        self._attempt = attempt
        self._on_log = on_log
        self._on_plan = on_plan

    async def enter(self, step: str) -> None:
        """Begin the next step, and say how long the one before took."""
        done = self._leave()
        if done.milliseconds >= 1:
            await self.say(f"Took {done.milliseconds:.0f} ms{', from a cache' * done.cached}")
        self.step = step

    async def plan(self, mode: Mode, evidence: str, lock_digest: str = "") -> None:
        """Say how the version will be built, now that it is known."""
        plan = BuildPlanned(
            build_id=self._request.build_id,
            attempt=self._attempt,
            mode=mode,
            confirmed=mode == self._request.mode,
            lock_digest=lock_digest,
            evidence=self.evidence + evidence,
        )
        self.planned = True
        try:
            await self._on_plan(plan)
        except ArgosyError as error:
            raise CallbackRaised(error) from error

    async def say(self, line: str, stream: LogStream = "system") -> None:
        """Write a line of our own into the build's log."""
        try:
            await self._on_log(BuildLogged(step=self.step, line=cut(line), stream=stream))
        except ArgosyError as error:
            raise CallbackRaised(error) from error

    async def hear(self, line: str) -> None:
        """Write a line of a program into the build's log."""
        self.heard = line
        await self.say(line, "stderr")

    def failed(self, failure: Failure) -> BuildEnded:
        """Return the end of a build that cannot succeed."""
        detail = cut(failure.detail)
        return replace(self._ended("failed"), step=failure.step, detail=detail, hint=failure.hint)

    def succeeded(self, artifact: Artifact | None) -> BuildEnded:
        """Return the end of a build that succeeded."""
        return replace(self._ended("succeeded"), artifact=artifact)

    def cancelled(self, detail: str) -> BuildEnded:
        """Return the end of a build that somebody wants no more; `detail` says who or why."""
        return replace(self._ended("cancelled"), detail=detail, hint=AGAIN)

    def _ended(self, how: BuildHow) -> BuildEnded:
        self._leave()
        return BuildEnded(
            build_id=self._request.build_id, how=how, attempt=self._attempt, steps=self._steps
        )

    def _leave(self) -> BuildStep:
        now = time.monotonic()
        took = round((now - self._began) * 1000, 3)
        self._steps.append(BuildStep(name=self.step, milliseconds=took, cached=self.cached))
        self._began, self.cached, self.heard = now, False, ""
        return self._steps[-1]
