"""The functions that hints name. RQ calls them by name, with the stream to work on, as JSON."""

import asyncio

from adapters.settings import read_settings
from workers.builds import build
from workers.sandboxes.namespaces import Paths

_paths = Paths()


def host_run(stream: str) -> None:
    """What hints for runs name. Run hosts never call it: they take the hint itself.

    Raises RuntimeError: any other RQ worker that listens to that queue is a mistake.
    """
    raise RuntimeError(f"{stream} is for a run host: python -m workers host")


def run_build(stream: str) -> None:
    """Do a build, in the process that was forked for it. Done already: nothing to do."""
    asyncio.run(build(read_settings(), _paths, stream))


def use_paths(paths: Paths) -> None:
    """Say what was made reachable for sandboxes before this process forked."""
    global _paths  # noqa: PLW0603  # RQ calls a function by name, with what is in Redis alone
    _paths = paths
