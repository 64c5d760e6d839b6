"""Walking through lists, and waiting for something to become true."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from argosy.errors import StillGoing
from argosy.models import Page

LONGEST_POLL_SECONDS = 0.5

T = TypeVar("T")


def every(page: Callable[[str], Page[T]]) -> Iterator[T]:
    """Yield the items of all pages; `page` gets a cursor, empty for the first."""
    cursor = ""
    while True:
        found = page(cursor)
        yield from found.items
        if not found.next_cursor:
            return
        cursor = found.next_cursor


def poll(read: Callable[[], T], done: Callable[[T], bool], seconds: float, what: str) -> T:
    """Return what `read` returns once it is `done`. Raises StillGoing after `seconds`."""
    deadline = time.monotonic() + seconds
    wait = 0.05
    while True:
        found = read()
        if done(found):
            return found
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise StillGoing(f"{what} is not done after {seconds:g} s; it goes on.")
        time.sleep(min(wait, remaining))
        wait = min(LONGEST_POLL_SECONDS, wait * 1.5)
