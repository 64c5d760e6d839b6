"""How much is tried: little in the tests of every day, as much as somebody has time for at will."""

import os

EXAMPLES = "ARGOSY_TEST_EXAMPLES"
SEED = "ARGOSY_TEST_SEED"


def is_long() -> bool:
    """Whether `python -m tests.fuzzing` runs the tests."""
    return EXAMPLES in os.environ


def examples(few: int) -> int:
    """Return how many examples a test tries: `few`, or what somebody asked for."""
    return int(os.environ.get(EXAMPLES, str(few)))


def seed() -> int:
    """Return what chance begins with."""
    return int(os.environ.get(SEED, "1"))
