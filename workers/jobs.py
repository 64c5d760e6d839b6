"""The functions that hints name. No host calls them: it takes the hint itself.

They raise RuntimeError: any other RQ worker that listens to these queues is a mistake.
"""


def host_run(stream: str) -> None:
    """What hints for runs name."""
    raise RuntimeError(f"{stream} is for a run host: python -m workers host")


def run_build(stream: str) -> None:
    """What hints for builds name."""
    raise RuntimeError(f"{stream} is for a build host: python -m workers build")
