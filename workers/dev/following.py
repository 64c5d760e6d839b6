"""Reading the dev server's log as it grows, with nothing but the standard library."""

import http.client
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from argosy.sse import frames

PAUSE_SECONDS = 0.5
SILENCE_SECONDS = 45.0  # the heartbeat comes every 15 s
CHUNK = 65_536


class Follower(threading.Thread):
    """Calls `told` with every event of the log after `after`, until the process ends.

    The API may go and come: the log is resumed where it was.
    """

    def __init__(
        self, host: str, port: int, key: str, after: int, told: Callable[[dict[str, Any]], None]
    ) -> None:
        super().__init__(name="follower", daemon=True)
        self._host, self._port, self._key = host, port, key
        self._after = after
        self._told = told
        self._over = threading.Event()

    def run(self) -> None:
        """Follow, over any number of connections."""
        while not self._over.is_set():
            # The API is away: the supervisor has said so.
            with suppress(OSError, http.client.HTTPException, ValueError):
                self._follow()
            self._over.wait(PAUSE_SECONDS)

    def stop(self) -> None:
        """Say no more."""
        self._over.set()

    def _follow(self) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=SILENCE_SECONDS)
        try:
            headers = {
                "Authorization": f"Bearer {self._key}",
                "Accept": "text/event-stream",
                "Last-Event-ID": str(self._after),
            }
            connection.request("GET", f"/v1/events?after={self._after}", headers=headers)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                return
            for frame in frames(iter(lambda: answer.read1(CHUNK), b"")):
                if self._over.is_set():
                    return
                if frame.id.isdecimal() and int(frame.id) > self._after:
                    self._told(json.loads(frame.data))
                    self._after = int(frame.id)
        finally:
            connection.close()


def get(
    host: str, port: int, path: str, key: str = "", timeout: float = 2.0
) -> tuple[int, dict[str, Any]]:
    """Return status and JSON object of one request; status 0 while nothing answers."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        answer = connection.getresponse()
        found: Any = json.loads(answer.read())
        return answer.status, cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    except (OSError, http.client.HTTPException, ValueError):
        return 0, {}
    finally:
        connection.close()
