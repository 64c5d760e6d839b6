"""Server-sent events as they come, of any size of chunk (WHATWG HTML, 9.2)."""

MAX_EVENT_BYTES = 4 << 20
LINE_BYTES = 16  # what a line counts beside its data, so that many empty ones count


class EventTooLarge(Exception):
    """An event is larger than MAX_EVENT_BYTES, or no event at all."""


class Events:
    """Finds the events in a stream of bytes, and holds no more of it than one event.

    Only their data is told: both vendors repeat an event's name in it.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of each event that is complete now. Raises EventTooLarge."""
        first, *more = chunk.split(b"\n")  # only what is new is looked through
        self._rest += first
        lines: list[bytes] = []
        if more:
            lines = [bytes(self._rest), *more[:-1]]
            self._rest = bytearray(more[-1])
        found = [data for line in lines if (data := self._take(line)) is not None]
        if self._size + len(self._rest) > MAX_EVENT_BYTES:
            raise EventTooLarge
        return found

    def close(self) -> list[bytes]:
        """Return the data of a last event that no empty line ended, if there is one."""
        last = self._take(bytes(self._rest)) or self._take(b"")
        self._rest.clear()
        return [last] if last is not None else []

    def _take(self, line: bytes) -> bytes | None:
        line = line.removesuffix(b"\r")
        if line.startswith(b"data:"):
            data = line[5:].removeprefix(b" ")
            self._data.append(data)
            self._size += len(data) + LINE_BYTES
            if self._size > MAX_EVENT_BYTES:
                raise EventTooLarge
            return None
        if line or not self._data:
            return None
        event = b"\n".join(self._data)
        self._data.clear()
        self._size = 0
        return event
