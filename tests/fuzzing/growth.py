"""Whether work grows with what there is to do, and memory does not."""

import sys
import time
import tracemalloc
from collections.abc import Callable, Generator
from contextlib import contextmanager

# Of what twice as much takes. Linear work takes twice as long, quadratic work four times, and a
# machine that does something else in between is forgiven.
MOST = 3.2
TRIES = 5


def grows_evenly(work: Callable[[int], object], size: int) -> None:
    """Fail if `work` of twice the size takes much more than twice as long, whenever it is tried."""
    ratios: list[float] = []
    for _ in range(TRIES):
        once, twice = _seconds(work, size), _seconds(work, 2 * size)
        ratios.append(twice / max(once, 1e-4))
        if ratios[-1] < MOST:
            return
    raise AssertionError(f"twice as much took {ratios} times as long")


@contextmanager
def holding_at_most(megabytes: float) -> Generator[None]:
    """Fail if what the block allocates is more than this at any moment."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < megabytes * 1e6, f"held {peak / 1e6:.1f} MB"


def _seconds(work: Callable[[int], object], size: int) -> float:
    began = time.process_time()
    work(size)
    return time.process_time() - began


def deep(pieces: int = 0) -> str:
    """Return JSON that is nested deeper than anything can be read."""
    return "[" * (pieces or 50 * sys.getrecursionlimit())
