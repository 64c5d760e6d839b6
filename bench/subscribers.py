"""Subscribers in a process of their own: `python -m bench.subscribers http|redis …`.

It says `ready` when all of them listen and have seen event 1, and, when all of them have seen the
last one, for each event the times at which they did.
"""

import asyncio
import re
import sys
import time
from typing import Any

import msgspec
import redis
import uvloop

READ_SECONDS = 60
_ID = re.compile(rb"\nid: (\d+)\n")


class Subscriber(asyncio.Protocol):
    """One client of server-sent events; frames are only looked at for their ids."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._rest = b""
        self.times: dict[int, float] = {}
        self.begun = asyncio.Event()
        self.done = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Note which events came, and when."""
        now = time.monotonic()
        data = self._rest + data
        for found in _ID.finditer(data):
            version = int(found[1])
            self.times.setdefault(version, now)
            self.begun.set()
            if version == self._last:
                self.done.set()
        self._rest = data[-24:]  # an id that is cut in two


async def follow(port: int, path: str, key: str, *, count: int, last: int) -> list[list[float]]:
    """Follow one stream `count` times over HTTP; for each event the times at which it came."""
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
    request = f"{head}Authorization: Bearer {key}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    subscribers: list[Subscriber] = []
    transports: list[asyncio.Transport] = []
    for _ in range(count):
        transport, subscriber = await loop.create_connection(
            lambda: Subscriber(last), "127.0.0.1", port
        )
        transport.write(request)
        transports.append(transport)
        subscribers.append(subscriber)
    async with asyncio.timeout(READ_SECONDS):
        for subscriber in subscribers:
            await subscriber.begun.wait()
        say("ready")
        for subscriber in subscribers:
            await subscriber.done.wait()
    for transport in transports:
        transport.close()
    events = range(2, last + 1)
    return [[each.times[version] for each in subscribers] for version in events]


def read(url: str, stream: str, last: int) -> list[list[float]]:
    """Read a Redis stream as its one subscriber; for each event the time at which it came."""
    # Any: redis-py leaves replies open.
    client: Any = redis.Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType]
    after, times = b"0", list[list[float]]()
    while len(times) < last:
        [(_, entries)] = client.xread({stream: after}, block=READ_SECONDS * 1000)
        now = time.monotonic()
        if not times:
            say("ready")
        times += [[now] for _ in entries]
        after = entries[-1][0]
    client.close()
    return times[1:]


def say(what: object) -> None:
    """Print one line of JSON."""
    sys.stdout.write(msgspec.json.encode(what).decode() + "\n")
    sys.stdout.flush()


def listen() -> None:
    """Do what the command line says."""
    match sys.argv[1:]:
        case ["http", port, path, key, count, last]:
            say(uvloop.run(follow(int(port), path, key, count=int(count), last=int(last))))
        case ["redis", url, stream, last]:
            say(read(url, stream, int(last)))
        case wrong:
            raise ValueError(wrong)


if __name__ == "__main__":
    listen()
