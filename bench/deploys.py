"""How long from a deploy to its version ready, for fifty at once against one after the other.

All of it: the POST, the log, the queue, a build worker, and the end of the build at the client that
follows it. The source of each is new; the package that they require was installed before. What is
compared is the median of each client's wait, and of each build's own time, from claim to end.
"""

import json
import re
import statistics
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench.connections import Connection
from bench.logs import directory
from tests.e2e.servers import KEY, dev_server
from tests.redis_server import RedisServer
from tests.workers.packages import make_wheel

AT_ONCE = 50
ROUNDS = 3
AIM = 2.0
WORKSPACE = "/v1/workspaces/default"
_DATA = re.compile(rb"^data: (\{.*\"status\".*\})$", re.MULTILINE)


class Deployed(Struct, frozen=True):
    """Seconds until it was ready, and of its build alone."""

    waited: float
    built: float


def main() -> int:
    """Print one line for each case: name, ratio, aim, ok or short. Always 0: it only measures."""
    with directory() as place, _server(place) as port:
        _deploy(port, "first", 0)
        alone: list[Deployed] = []
        together: list[Deployed] = []
        took = 0.0
        for number in range(1, ROUNDS + 1):
            alone += [_deploy(port, f"alone{each}", number) for each in range(AT_ONCE // 5)]
            began = time.monotonic()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                names = [f"together{each}" for each in range(AT_ONCE)]
                together += pool.map(_deploy, [port] * AT_ONCE, names, [number] * AT_ONCE)
            took = time.monotonic() - began
        _tell("deploys-at-once", [d.waited for d in together], [d.waited for d in alone])
        _tell("deploys-at-once-build", [d.built for d in together], [d.built for d in alone])
        print(f"# all {len(together)} succeeded; the last {AT_ONCE} took {took:.2f} s together")
    return 0


def _deploy(port: int, name: str, number: int) -> Deployed:
    source = {
        "files": {"agent.py": f"import greeting\nprint({number}, {name!r})\n"},
        "requirements": "greeting==1.0",
    }
    with Connection(port, KEY) as client, Connection(port, KEY) as follower:
        started = time.monotonic()
        made = client.post(f"{WORKSPACE}/deployments", {"name": name, "source": source})
        follower.follow(f"/v1/builds/{made['build_id']}/events")
        said = follower.wait_for(b"event: complete")
        waited = time.monotonic() - started
        end = follower.wait_for(b"\n\n")
    if b'"status":"succeeded"' not in end:
        raise SystemExit(f"a build did not succeed: {(said + end).decode()[-2000:]}")
    events = [json.loads(data) for data in _DATA.findall(said + end)]
    claimed = next(event for event in events if event["status"] == "running")
    return Deployed(waited, _moment(events[-1]) - _moment(claimed))


def _moment(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["at"]).timestamp()


@contextmanager
def _server(place: Path) -> Generator[int]:
    place.chmod(0o755)  # sandboxes show the wheels
    wheels = place / "wheels"
    make_wheel(wheels, "greeting", "1.0")
    redis_place = place / "redis"
    redis_place.mkdir()
    redis = RedisServer(redis_place)
    environment = {"ARGOSY_REDIS": redis.url, "ARGOSY_PACKAGE_INDEX": str(wheels)}
    try:
        with dev_server(place / "data", environment=environment) as dev:
            yield int(dev.url.rpartition(":")[2])
    finally:
        redis.stop()


def _tell(name: str, together: list[float], alone: list[float]) -> None:
    ours, theirs = statistics.median(together), statistics.median(alone)
    ratio = ours / theirs
    print(
        f"{name} {ratio:.2f} {AIM:g} {'ok' if ratio <= AIM else 'short'}"
        f"  # {ours * 1e3:.0f} ms against {theirs * 1e3:.0f}",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
