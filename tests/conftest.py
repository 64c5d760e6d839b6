"""What every test may use: how to say that a part of the machine is required."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# No property depends on how fast the machine is.
settings.register_profile("argosy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("argosy")

# A shell starts what it puts in the background deaf to Ctrl-C, and so would be what tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

REQUIRED = frozenset(filter(None, os.environ.get("ARGOSY_REQUIRE", "").split(",")))


def require(part: str, reason: str) -> None:
    """Skip the test because `part` (postgres, redis, bwrap…) is missing; fail where it is required.

    CI sets ARGOSY_REQUIRE, so a part that vanished there is a failure, never a silent skip.
    """
    if part in REQUIRED:
        pytest.fail(f"{part} is required here, but: {reason}")
    pytest.skip(f"needs {part}: {reason}")
