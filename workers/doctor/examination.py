"""Everything that is looked at, in the order in which it is built upon."""

from collections.abc import Iterator
from pathlib import Path

import uvloop

from adapters.settings import Settings
from domain.errors import ArgosyError
from workers.dev.directory import of_dev_server
from workers.doctor.building import look_at_builds
from workers.doctor.databases import look_at_database
from workers.doctor.findings import Finding, broken
from workers.doctor.hints import look_at_embedded_redis, look_at_redis
from workers.doctor.machine import look_at_machine, open_sandbox
from workers.doctor.storage import look_at_blobs, look_at_disks
from workers.sandboxes.drivers import prepare
from workers.sandboxes.namespaces import Paths


def examine(settings: Settings, *, dev: bool, sandboxes: bool) -> Iterator[Finding]:
    """Yield findings, each as soon as it is there. To be called before any thread is started.

    dev: the server is `argosy dev`'s, which has a Redis and rules of its own. sandboxes: whether
    agents are to run or be built here.
    """
    settings = of_dev_server(settings) if dev else settings
    if sandboxes:
        yield from look_at_machine(settings)
        try:
            paths = _prepare(settings)
        except ArgosyError as error:
            yield broken("data", error.detail, "Workers do not start before.")
        else:
            yield from uvloop.run(open_sandbox(settings, paths))
        yield from uvloop.run(look_at_builds(settings))
    yield from look_at_disks(settings)
    yield uvloop.run(look_at_blobs(settings))
    yield from uvloop.run(look_at_database(settings, vault=not dev))
    socket = Path(settings.redis.removeprefix("unix://"))
    if dev and not socket.exists():
        yield look_at_embedded_redis()
    else:
        yield from look_at_redis(settings)


def _prepare(settings: Settings) -> Paths:
    """Make reachable what sandboxes mount. A data directory that is not there is not made."""
    data = settings.data.absolute()
    return prepare([data] if data.is_dir() else [], settings.sandbox_driver)
