"""A worker's page: on a port of its own if the operator wants one, and never in the work's way."""

import asyncio
import socket
from contextlib import suppress

import httpx
import pytest

from adapters import metrics
from adapters.metrics import metrics_served
from adapters.settings import Settings
from tests.pages import numbers


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


async def get(port: int, path: str = "/metrics") -> httpx.Response:
    """Ask until somebody listens."""
    async with httpx.AsyncClient() as client, asyncio.timeout(10):
        while True:
            with suppress(httpx.ConnectError):
                return await client.get(f"http://127.0.0.1:{port}{path}")
            await asyncio.sleep(0.01)


async def test_a_page_has_what_was_counted_and_the_process_itself(port: int) -> None:
    async with metrics_served(Settings(metrics_port=port)):
        answer = await get(port)

    found = numbers(answer.text)
    assert found["process_resident_memory_bytes",] > 0
    assert answer.headers["content-type"] == metrics.CONTENT_TYPE


async def test_nothing_else_is_served_there(port: int) -> None:
    async with metrics_served(Settings(metrics_port=port)), httpx.AsyncClient() as client:
        assert (await get(port, "/other")).status_code == 404
        assert (await client.post(f"http://127.0.0.1:{port}/metrics")).status_code == 404


async def test_nothing_is_served_unless_somebody_wants_it() -> None:
    before = len(asyncio.all_tasks())
    async with metrics_served(Settings()):
        assert len(asyncio.all_tasks()) == before


async def test_whoever_speaks_something_else_is_left_alone(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "REQUEST_SECONDS", 0.2)
    async with metrics_served(Settings(metrics_port=port)):
        await get(port)
        for said in (b"", b"GET /metrics", b"x" * 100_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
        assert (await get(port)).status_code == 200


async def test_a_port_that_is_taken_is_waited_for(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the process that this one replaces."""
    monkeypatch.setattr(metrics, "AGAIN_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", port)) as taken:
        async with metrics_served(Settings(metrics_port=port)):
            await asyncio.sleep(0)
            taken.close()
            assert (await get(port)).status_code == 200
