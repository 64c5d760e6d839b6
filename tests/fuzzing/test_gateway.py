"""Bytes that no agent's client would send, over the gateway's real socket."""

import asyncio
from random import Random

import psutil
import pytest
from structlog.testing import capture_logs

from tests.fuzzing.effort import examples, is_long, seed
from tests.workers.gateways import CLOSE, GET, Door, echo, opened, status
from workers.gateway.allowances import GatewayLimits
from workers.gateway.exchange import Exchange
from workers.gateway.session import Session

QUICK = GatewayLimits(
    head_seconds=0.2, body_seconds=0.2, idle_seconds=0.5, stall_seconds=0.5, calls_per_second=1e6
)
AT_ONCE = 32
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
GOOD = [
    GET,
    b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(SMUGGLED), SMUGGLED),
    b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
    b'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 13\r\n\r\n{"model":"m"}',
    b"POST /runs/run-1/tool-result HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n{}\r\n",
    b"PUT /tools/t/a%2e%2e/b?c=%00 HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 0\r\n\r\n",
]
PIECES = [
    *(b"content-length: 5\r\n", b"content-length: +5\r\n", b"content-length: 5, 5\r\n"),
    *(b"content-length: -1\r\n", b"content-length: %d\r\n" % 10**20, b"content-length: 0x10\r\n"),
    *(b"transfer-encoding: chunked\r\n", b"transfer-encoding: chunked, identity\r\n"),
    *(b"transfer-encoding:\x0bchunked\r\n", b"Transfer-Encoding : chunked\r\n", b" folded\r\n"),
    *(b"ffffffffffffffff\r\n", b"0\r\n\r\n", b"-1\r\n", b"5;a=b\r\n", b"0\r\nx: y\r\n\r\n"),
    *(b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n", b"\xff\xfe", b"\x00" * 40, b" ", b"\t", b":"),
    *(b"upgrade: h2c\r\nconnection: upgrade\r\n", b"connection: close\r\n", b"HTTP/1.0", b"HTTP/2"),
    *(
        b"host: y\r\n",
        b"x" * 5_000,
        b"a: b\r\n" * 300,
        SMUGGLED,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ),
    *(b"OPTIONS *", b"CONNECT x:1", b"//", b"/%", b"/\xc3\xa9", b"http://[/", b"?" * 50, b"#"),
]


def made(random: Random) -> bytes:
    """Return a request, or several, with some parts broken."""
    found = bytearray(b"".join(random.choices(GOOD, k=random.choice((1, 1, 1, 2)))))
    for _ in range(random.randint(0, 4)):
        start = random.randrange(len(found) + 1)
        stop = min(len(found), start + random.choice((0, 0, 1, 8, 40)))
        found[start:stop] = random.choice((*PIECES, random.randbytes(random.randint(0, 9)), b""))
    return bytes(found)


async def say(door: Door, sent: bytes, random: Random) -> bytes:
    """Send it, at once or in two halves, and return all that is answered until the end."""
    reader, writer = await door.connect()
    try:
        stop = random.choice((len(sent), random.randrange(len(sent) + 1)))
        first = sent.lstrip(b"\r\n").partition(b"\n")[0]
        # What comes later, or after a head that was cut out, may be a request of its own.
        if stop < len(sent) or b"/smuggled" in first:
            sent = sent.replace(b"/smuggled", b"/in-parts")
        for part in (sent[:stop], sent[stop:]):
            writer.write(part)
            await asyncio.sleep(0)
        if random.random() < 0.5:
            writer.write_eof()
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.timeout(0 if is_long() else 120)
async def test_whatever_is_sent_the_gateway_serves_on() -> None:
    """Nothing breaks, is left, or is taken for a request that was the body of one."""
    served: list[str] = []
    random = Random(seed())

    async def noted(session: Session, exchange: Exchange) -> None:
        served.append(exchange.path)
        await echo(session, exchange)

    async with opened(QUICK, ("/echo", noted), ("/smuggled", noted)) as door:
        await door.say(GET.replace(b"\r\n", CLOSE, 1))
        tasks, files = len(asyncio.all_tasks()), psutil.Process().num_fds()
        with capture_logs() as logs:
            for _ in range(0, examples(320), AT_ONCE):
                sent = [made(random) for _ in range(AT_ONCE)]
                others = asyncio.create_task(door.say(GET.replace(b"\r\n", CLOSE, 1)))
                answers = await asyncio.gather(*(say(door, each, random) for each in sent))
                assert status(await others) == 200
                for each, answer in zip(sent, answers, strict=True):
                    assert not answer or answer.startswith(b"HTTP/1.1 "), each
                    assert b"HTTP/1.1 50" not in answer, each
        assert [each for each in logs if each["log_level"] in {"error", "critical"}] == []
        await _settled(tasks, files)
    assert "/smuggled" not in served


async def _settled(tasks: int, files: int) -> None:
    """Return when there are no more tasks and files than before."""
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > tasks or psutil.Process().num_fds() > files:  # noqa: ASYNC110  # they end by themselves
            await asyncio.sleep(0.02)
