"""Removes, little by little, what nobody asks for any more: answers of commands."""

import time

import structlog

from adapters.answers import START, forget_answers
from adapters.wiring import Services

# Between the end of one walk through all answers and the next; a walk takes a page at each step.
REST_SECONDS = 600.0
DAY_SECONDS = 86_400.0

log = structlog.stdlib.get_logger(__name__)


class Retention:
    """One walk after the other, for as long as a process leads."""

    def __init__(self, services: Services) -> None:
        self._database = services.store.database
        self._seconds = services.settings.keep_answers_days * DAY_SECONDS
        self._after = START
        self._rests_until = 0.0

    async def step(self) -> None:
        """Look at one page, unless it is time to rest. Raises Unavailable."""
        if not self._seconds or time.monotonic() < self._rests_until:
            return
        forgotten, self._after = await forget_answers(self._database, self._seconds, self._after)
        if forgotten:
            log.info("answers.forgotten", count=forgotten)
        if self._after == START:
            self._rests_until = time.monotonic() + REST_SECONDS
