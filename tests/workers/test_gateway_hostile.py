"""The gateway's sockets over real connections: what an agent cannot do to us and to others."""

import asyncio
from itertools import chain, repeat
from typing import Any

import psutil
import pytest

from tests.workers.gateways import (
    CLOSE,
    GET,
    body,
    echo,
    one_answer,
    opened,
    status,
    until,
)
from workers.gateway.allowances import GatewayLimits
from workers.gateway.exchange import MAX_BODY_BYTES, Exchange
from workers.gateway.server import Gateway
from workers.gateway.session import Session

QUICK = GatewayLimits(head_seconds=0.3, body_seconds=0.3, idle_seconds=1, stall_seconds=0.3)


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"POST /x HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_and_the_connection_closed(sent: bytes) -> None:
    async with opened() as door:
        answer = await door.say(sent)
        still = await door.say(GET.replace(b"\r\n", CLOSE, 1))

    assert status(answer) == 400
    assert body(answer)["error"]
    assert status(still) == 200


async def test_requests_are_not_sent_before_the_last_was_answered() -> None:
    waits = asyncio.Event()

    async def wait(session: Session, exchange: Exchange) -> None:
        await waits.wait()
        await exchange.respond(200, b"late")

    async with opened(None, ("/wait", wait)) as door:
        answer = await door.say(b"GET /wait HTTP/1.1\r\n\r\n" + 10_000 * GET)
        waits.set()

    assert answer == b""


async def test_a_head_without_end_is_refused() -> None:
    flood = b"x: " + b"y" * 1000 + b"\r\n"
    floods = [
        b"GET /healthz HTTP/1.1\r\n" + 100 * flood,
        b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 100_000,
        b"GET /" + b"y" * 100_000,
        b"GET /healthz HTTP/1.1\r\n" + 10_000 * b"a:\r\n",
        b"\r\n" * 100_000,
        b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"e" * 400_000,
    ]
    async with opened(None, ("/echo", echo)) as door:
        answers = [await door.say(each, 20) for each in floods]

    assert [status(answer) for answer in answers[:5]] == [431] * 5
    assert answers[5] == b""


async def test_trailers_without_end_are_refused() -> None:
    start = b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(b"x") + b"0\r\n"
    async with opened(None, ("/echo", echo)) as door:
        many = await door.say(start + 1000 * (b"x: " + b"y" * 1000 + b"\r\n"))
        one = await door.say(start + b"x: " + b"y" * 1_000_000)
        few = await door.say(start.replace(b"\r\n", CLOSE, 1) + b"x: y\r\n\r\n")

    assert many == one == b""
    assert few.endswith(b"\r\n\r\nx")


async def test_a_head_that_comes_slowly_is_given_up() -> None:
    async with opened(QUICK) as door:
        answer = await door.say(b"GET /healthz HTTP/1.1\r\n")
        silence = await door.say(b"")

    assert status(answer) == 408
    assert silence == b""


async def test_a_body_that_comes_slowly_is_given_up() -> None:
    async with opened(QUICK, ("/echo", echo)) as door:
        answer = await door.say(b"POST /echo HTTP/1.1\r\ncontent-length: 10\r\n\r\nhalf")

    assert answer == b""


async def test_bytes_between_two_requests_do_not_keep_a_connection() -> None:
    async with opened(QUICK) as door:
        reader, writer = await door.connect()
        writer.write(GET)
        await one_answer(reader)
        writer.write(b"\r\n")

        async with asyncio.timeout(5):
            rest = await reader.read()

        writer.close()
    assert rest == b""


async def test_a_body_that_is_too_large_is_refused_by_its_head() -> None:
    head = b"POST /echo HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    async with opened(QUICK, ("/echo", echo)) as door:
        answer = await door.say(head)

    assert status(answer) == 413


async def test_a_body_that_grows_too_large_is_refused_as_it_does() -> None:
    head = b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    endless = chain([head], repeat(chunked(b"x" * 60_000)))
    async with opened(None, ("/echo", echo)) as door:
        before = psutil.Process().memory_info().rss
        answer = await door.say(endless)
        grown = psutil.Process().memory_info().rss - before

    assert status(answer) == 413
    assert grown < 4 * MAX_BODY_BYTES


async def test_bodies_together_are_bounded_for_a_sandbox_and_for_all() -> None:
    limits = GatewayLimits(own_bytes=100_000, most_bytes=600_000, pool_bytes=500_000)
    release = asyncio.Event()

    async def hold(session: Session, exchange: Exchange) -> None:
        await exchange.body()
        await release.wait()
        await exchange.respond(200, b"held")

    def find(*_: object) -> Any:
        return hold

    gateway = Gateway(limits, find=find)
    async with (
        opened(gateway=gateway) as one,
        opened(gateway=gateway) as other,
        one.client() as client,
        other.client() as second,
    ):
        taken = asyncio.create_task(client.post("/", content=b"x" * 550_000))
        await until(lambda: gateway.pool.left == 50_000)
        too_much = await client.post("/", content=b"x" * 600_000)
        no_room = await second.post("/", content=b"x" * 200_000)
        own = asyncio.create_task(second.post("/", content=b"x" * 99_000))
        release.set()
        answers = [await taken, await own]

    assert too_much.status_code == 429
    assert no_room.status_code == 503
    assert [answer.status_code for answer in answers] == [200, 200]
    assert gateway.pool.left == 500_000


async def test_an_answer_waits_for_a_slow_reader() -> None:
    sent = 0

    async def pour(session: Session, exchange: Exchange) -> None:
        nonlocal sent
        await exchange.start(200, {})
        for _ in range(1000):
            await exchange.send(b"x" * 100_000)
            sent += 100_000
        await exchange.end()

    async with opened(None, ("/pour", pour)) as door:
        reader, writer = await door.connect()
        writer.write(b"GET /pour HTTP/1.1\r\nconnection: close\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)  # it would be done by then
        early = sent
        async with asyncio.timeout(30):
            rest = await reader.read()
        writer.close()

    assert early < 5_000_000
    assert rest.count(b"x") == 100_000_000


async def test_an_agent_that_reads_nothing_is_given_up() -> None:
    ended = asyncio.Event()

    async def pour(session: Session, exchange: Exchange) -> None:
        await exchange.start(200, {})
        try:
            while True:
                await exchange.send(b"x" * 100_000)
        finally:
            ended.set()

    async with opened(QUICK, ("/pour", pour)) as door:
        _, writer = await door.connect()
        writer.write(b"GET /pour HTTP/1.1\r\n\r\n")

        async with asyncio.timeout(10):
            await ended.wait()

        writer.close()


async def test_connections_over_the_limit_wait_for_a_place() -> None:
    async with opened(GatewayLimits(connections=2)) as door:
        first = [await door.connect() for _ in range(2)]
        reader, writer = await door.connect()
        writer.write(GET)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.2)

        first[0][1].close()

        assert await asyncio.wait_for(reader.readexactly(4), 5) == b"HTTP"
        for _, each in [*first, (reader, writer)]:
            each.close()


async def test_calls_are_slowed_down_to_their_pace() -> None:
    loop = asyncio.get_running_loop()
    limits = GatewayLimits(calls_per_second=50, burst=10)
    async with opened(limits) as door, door.client() as client:
        began = loop.time()
        answers = [await client.get("/healthz") for _ in range(30)]
        took = loop.time() - began

    assert {answer.status_code for answer in answers} == {200}
    assert took > 0.3


async def test_memory_stays_flat_over_many_calls() -> None:
    process = psutil.Process()
    async with opened(GatewayLimits(burst=1_000_000), ("/echo", echo)) as door:

        async def round_of_calls() -> None:
            async with door.client() as client:
                for _ in range(20):
                    await asyncio.gather(
                        *(client.post("/echo", content=b"x" * 10_000) for _ in range(50))
                    )

        await round_of_calls()
        before = process.memory_info().rss
        await round_of_calls()
        grown = process.memory_info().rss - before

    assert grown < 16 << 20
