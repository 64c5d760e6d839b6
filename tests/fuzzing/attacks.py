"""A server with something on it, asked everything by a document, and looked at afterwards."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.fuzzing.populating import populate, populate_apart
from tests.fuzzing.requests import Examined, Target, examine
from tests.fuzzing.servers import Served, hosting, serving
from tests.redis_server import RedisServer

# What a process may have more of after some thousand requests: caches fill, and a client of the
# pool may still be connected.
MORE_FILES = 12
MORE_MB = 120.0


def attack(
    directory: Path, database: str, redis: RedisServer, target: Target, *, examples: int, seed: int
) -> Examined:
    """Ask a fresh server; fails where it leaks, or says of itself that something is wrong."""
    with serving(directory, database, redis) as served, _keeping(served):
        values = populate(served)
        document = httpx.get(f"{served.url}{target.path}").json()
        examined = examine(document, served.url, target, values, examples=examples, seed=seed)
        with hosting(served):
            values = populate_apart(served)
            examined.merge(
                examine(
                    document,
                    served.url,
                    target,
                    values,
                    examples=examples,
                    seed=seed,
                    apart=True,
                )
            )
        assert httpx.get(f"{served.url}/readyz").json()["status"] == "ok"
    assert served.trouble() == []
    return examined


@contextmanager
def _keeping(served: Served) -> Generator[None]:
    files, megabytes = served.open_files(), served.resident_mb()
    yield
    assert served.open_files() <= files + MORE_FILES
    assert served.resident_mb() <= megabytes + MORE_MB
