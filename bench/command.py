"""A durable command over HTTP against an echo behind the very same middleware, 32 connections.

Ours: `POST …/runs` with an idempotency key: key looked up, body checked, decided, appended with
fsync, read back and answered. The other side is a handler of the same application, behind the same
guard, body check, request id and log line, that answers with the body.
"""

import asyncio
import multiprocessing
import os
import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvloop
from litestar import Router, post
from litestar.di import NamedDependency, Provide
from litestar.params import JSONBody
from msgspec import Struct

from adapters import telemetry
from adapters.settings import Settings
from adapters.wiring import open_services
from api.app import create_app
from api.auth import Authentication
from api.bodies import StrictBody
from api.bootstrap import bootstrap
from api.calls import Call, provide_call
from api.runs import RunRequest
from api.serving import listen
from bench.connections import free_port
from bench.logs import directory, durable_server
from domain.ids import new_id
from projections.reads import open_reads
from tests.redis_server import RedisServer

CONNECTIONS = 32
SECONDS = 1.5  # of each measurement
ROUNDS = 5
AIM = 0.7
AIM_P99 = 2.0
KEY = "argosy_bench_key_00000000000000000000000000000000000"
BODY = b'{"message":"a message of a usual length, as people write them to agents"}'
UNREACHED = 1_000_000  # what is limited counts every request, and refuses none here
ECHO = "/bench/echo"
RUNS = "/v1/workspaces/default/deployments/bench/runs"


class Load(Struct, frozen=True):
    """Answers a second, and the 99th percentile of their times in seconds."""

    rate: float
    p99: float


def main() -> int:
    """Print two lines for each database: rates, and slow answers. Always 0: it only measures."""
    with directory() as place:
        redis = RedisServer(place)
        try:
            _measure("sqlite", place, redis, "")
            with durable_server() as server:
                _measure("postgres", place, redis, server.new_database())
        finally:
            redis.stop()
    return 0


def _measure(name: str, place: Path, redis: RedisServer, database: str) -> None:
    settings = Settings(
        data=place / name,
        database=database,
        redis=redis.url,
        port=free_port(),
        request_rate=UNREACHED,
        request_burst=UNREACHED,
    )
    with _served(settings):
        _deploy(settings.url)
        _load(settings.port, RUNS)
        pairs = [(_load(settings.port, RUNS), _load(settings.port, ECHO)) for _ in range(ROUNDS)]
    ours, echo = zip(*pairs, strict=True)
    ratio = statistics.median(mine.rate / theirs.rate for mine, theirs in pairs)
    slow = statistics.median(mine.p99 / theirs.p99 for mine, theirs in pairs)
    rates = " against ".join(
        f"{statistics.median(load.rate for load in loads):,.0f}/s" for loads in (ours, echo)
    )
    waits = " against ".join(
        f"{statistics.median(load.p99 for load in loads) * 1000:.1f} ms" for loads in (ours, echo)
    )
    verdict = "ok" if ratio >= AIM else "short"
    print(f"command-{name} {ratio:.2f} {AIM:g} {verdict}  # {rates}", flush=True)
    verdict = "ok" if slow <= AIM_P99 else "short"
    print(f"command-{name}-p99 {slow:.2f} {AIM_P99:g} {verdict}  # {waits}", flush=True)


@contextmanager
def _served(settings: Settings) -> Generator[None]:
    """Serve in a process of its own, as `python -m api` does, with the echo beside it."""
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(settings,))
    process.start()
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"{settings.url}/healthz")
                break
            except httpx.TransportError:
                if time.monotonic() > deadline or not process.is_alive():
                    raise
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.join(10)


def _serve(settings: Settings) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # lines are written, and read by nobody
    telemetry.configure("api", settings.log_format, settings.log_level)
    uvloop.run(_serve_until_told(settings))


async def _serve_until_told(settings: Settings) -> None:
    async with open_services(settings, name="api") as services:
        await bootstrap(services, api_key=KEY)
        reads = await open_reads(settings.read_url, services.hurry)
        app = create_app(services, reads)
        app.register(
            Router(
                "/bench",
                route_handlers=[echo],
                middleware=[Authentication],
                dependencies={"call": Provide(provide_call)},
                dto=StrictBody,
                return_dto=None,
            )
        )
        await listen(app, settings)
        await reads.close()


@post("/echo", status_code=202, opt={"needs": "write"})
async def echo(data: JSONBody[RunRequest], call: NamedDependency[Call]) -> RunRequest:
    """Answer with the body."""
    assert call.caller.role == "admin"
    return data


def _deploy(url: str) -> None:
    body = {"name": "bench", "source": {"files": {"agent.py": "print('x')"}}}
    answer = httpx.post(
        f"{url}/v1/workspaces/default/deployments", json=body, headers={"X-API-Key": KEY}
    )
    answer.raise_for_status()


def _load(port: int, path: str) -> Load:
    return uvloop.run(_run_load(port, path))


async def _run_load(port: int, path: str) -> Load:
    started = time.perf_counter()
    times = await asyncio.gather(
        *(_client(port, path, started + SECONDS) for _ in range(CONNECTIONS))
    )
    took = time.perf_counter() - started
    every = sorted(each for client in times for each in client)
    return Load(len(every) / took, every[int(len(every) * 0.99)])


async def _client(port: int, path: str, until: float) -> list[float]:
    """Send one request after the other on one connection; returns how long each took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times: list[float] = []
    while (began := time.perf_counter()) < until:
        writer.write(_request(path))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 202"), head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        times.append(time.perf_counter() - began)
    writer.close()
    await writer.wait_closed()
    return times


def _request(path: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {KEY}\r\n"
        f"Idempotency-Key: {new_id()}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(BODY)}\r\n\r\n"
    ).encode() + BODY
