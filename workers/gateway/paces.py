"""Requests a minute to one model provider, counted by each run host for itself."""

import math
import time
from collections import deque

from domain.errors import LimitReached

WINDOW_SECONDS = 60.0


class Paces:
    """When each provider was called in the last minute; forgets those that no longer are."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], deque[float]] = {}

    def take(self, workspace_id: str, provider: str, per_minute: int) -> None:
        """Count a call. Raises LimitReached. 0 is no limit."""
        if not per_minute:
            return
        now = time.monotonic()
        self._forget(now)
        calls = self._calls.setdefault((workspace_id, provider), deque())
        while calls and calls[0] <= now - WINDOW_SECONDS:
            calls.popleft()
        if len(calls) >= per_minute:
            wait = max(1, math.ceil(calls[len(calls) - per_minute] + WINDOW_SECONDS - now))
            raise LimitReached(
                f'Model provider "{provider}" takes {per_minute} requests a minute; '
                f"come back in {wait} s.",
                retry_after=wait,
            )
        calls.append(now)

    def _forget(self, now: float) -> None:
        old = [key for key, calls in self._calls.items() if calls[-1] <= now - WINDOW_SECONDS]
        for key in old:
            del self._calls[key]
