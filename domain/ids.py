"""Ids: UUIDv7 strings, made at the edge, so that they sort by the time they were made."""

import os
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last_ms = 0
_counter = 0


def new_id() -> str:
    """Return a UUIDv7 (RFC 9562, method 1), ordered within a process inside a millisecond too."""
    global _last_ms, _counter  # noqa: PLW0603  # one counter a process is the point
    with _lock:
        now = time.time_ns() // 1_000_000
        if now > _last_ms:
            _last_ms, _counter = now, int.from_bytes(os.urandom(2)) & 0x7FF
        else:
            _counter += 1
            if _counter > 0xFFF:
                _last_ms, _counter = _last_ms + 1, 0
        milliseconds, sequence = _last_ms, _counter
    random = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    value = milliseconds << 80 | 0x7 << 76 | sequence << 64 | 0b10 << 62 | random
    return str(UUID(int=value))


def stream_name(category: str, id: str) -> str:
    """Return the stream of one entity: `run-<id>`."""
    return f"{category}-{id}"


def split_stream(stream: str) -> tuple[str, str]:
    """Return the category and the id of a stream name. Categories never contain `-`."""
    category, _, id = stream.partition("-")
    return category, id
