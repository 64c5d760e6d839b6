"""Calls out: what is done with each kind of answer, in time and in memory."""

import asyncio
import socket
import sys
import tracemalloc
from contextlib import AsyncExitStack
from itertools import count

import psutil
import pytest

from domain.errors import ArgosyError
from tests.workers.gateway.listeners import (
    OK,
    Peer,
    Serving,
    lasting,
    listening,
    says,
    silent,
)
from tests.workers.gateway.outbounds import MEGABYTE, get, opened
from workers.gateway import http_outbound
from workers.gateway.outbound import OutboundFailed

CANARY = "canary-3b9f"


# -- what comes back


async def test_an_answer_is_passed_on_as_it_is() -> None:
    packed = b"\x1f\x8b\x08 this is no gzip at all"
    said = b"HTTP/1.1 299 Well\r\nX-A: 1\r\nx-a: 2\r\nContent-Encoding: gzip\r\n\r\n" + packed
    async with (
        listening(says(said)) as listener,
        opened() as outbound,
        outbound.request("GET", listener.url, headers={}) as answer,
    ):
        assert answer.status == 299
        assert answer.headers == {"x-a": "1, 2", "content-encoding": "gzip"}
        assert await answer.body(MEGABYTE) == packed


async def test_parts_are_passed_on_as_they_come() -> None:
    turn = asyncio.Semaphore(0)

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"):
            await turn.acquire()
            await peer.say(part)

    async with (
        listening(serve) as listener,
        opened() as outbound,
        asyncio.timeout(10),
        outbound.request("GET", listener.url, headers={}) as answer,
    ):
        parts: list[bytes] = []
        turn.release()
        async for part in answer.chunks():
            parts.append(part)
            turn.release()

    assert parts == [b"a", b"b"]


async def test_a_body_that_is_too_large_is_refused() -> None:
    async with (
        listening(lasting) as listener,
        opened() as outbound,
        outbound.request("GET", listener.url, headers={}) as answer,
    ):
        with pytest.raises(OutboundFailed, match="more than 1 bytes"):
            await answer.body(1)


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BROKEN: dict[str, bytes] = {
    "length": HEAD + b"Content-Length: 10\r\n\r\nhalf",
    "chunk": CHUNKED + b"a\r\nhalf",
    "no last chunk": CHUNKED + b"4\r\nhalf\r\n",
    "no size": CHUNKED + b"4\r\nhalf\r\nzz\r\nrest\r\n0\r\n\r\n",
    "wrong size": CHUNKED + b"4\r\nhalfway\r\n0\r\n\r\n",
    "negative size": CHUNKED + b"4\r\nhalf\r\n-1\r\nx\r\n0\r\n\r\n",
    "endless size": CHUNKED + b"4\r\nhalf\r\n" + b"0" * 100_000,
    "endless trailer": CHUNKED + b"4\r\nhalf\r\n0\r\n" + b"x: " + b"y" * 1_000_000,
}
NO_HEAD: dict[str, bytes] = {
    "nothing": b"",
    "half a head": HEAD + b"Content-Le",
    "no http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "http/0.9": b"<html>hello</html>\r\n\r\n",
    "bad status": b"HTTP/1.1 abc OK\r\n\r\n",
    "bad header": HEAD + b"no colon\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "long line": b"HTTP/1.1 200 " + b"x" * 20_000 + b"\r\n\r\n",
    "long header": HEAD + b"x: " + b"y" * 20_000 + b"\r\n\r\n",
    "many headers": HEAD + b"x: y\r\n" * 1000 + b"\r\n",
    "endless head": HEAD + b"x: y\r\n" * 200_000,
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx",
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_an_answer_that_breaks_off_is_never_taken_for_whole(kind: str) -> None:
    async with listening(says(BROKEN[kind])) as listener, opened() as outbound, asyncio.timeout(20):
        with pytest.raises(OutboundFailed, match=r"broke its answer off|broken HTTP"):
            await get(outbound, listener.url)


@pytest.mark.parametrize("kind", NO_HEAD)
async def test_what_is_no_answer_is_a_failure(kind: str) -> None:
    async with (
        listening(says(NO_HEAD[kind])) as listener,
        opened() as outbound,
        asyncio.timeout(20),
    ):
        with pytest.raises(OutboundFailed):
            await get(outbound, listener.url)


async def test_what_was_sent_before_a_break_is_passed_on() -> None:
    async with (
        listening(says(CHUNKED, b"4\r\nhalf\r\n")) as listener,
        opened() as outbound,
        outbound.request("GET", listener.url, headers={}) as answer,
    ):
        parts = answer.chunks()
        assert await anext(aiter(parts)) == b"half"
        with pytest.raises(OutboundFailed):
            await anext(aiter(parts))


async def test_nobody_there_is_a_failure() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with opened() as outbound:
        with pytest.raises(OutboundFailed, match=f"127.0.0.1:{port} .*connection refused"):
            await get(outbound, f"http://127.0.0.1:{port}/")
        with pytest.raises(OutboundFailed, match="no host that can be found"):
            await get(outbound, "http://no-such-host.invalid/")
        with pytest.raises(OutboundFailed):
            await get(outbound, f"http://{'a' * 70}.invalid/")


async def test_errors_hold_no_credential() -> None:
    """Not even where the service repeats what it was sent."""

    def parrot(before: bytes, after: bytes) -> Serving:
        async def serve(peer: Peer) -> None:
            head = await peer.head()
            await peer.say(before + head.replace(b"\r\n", b" ") + after)

        return serve

    for serve in (parrot(b"", b"\r\n\r\n"), parrot(HEAD, b"\r\n\r\n"), parrot(CHUNKED, b"\r\n")):
        async with listening(serve) as listener, opened() as outbound:
            with pytest.raises(ArgosyError) as failed:
                async with outbound.request(
                    "GET",
                    f"{listener.url}/{CANARY}?key={CANARY}",
                    headers={"authorization": CANARY},
                ) as answer:
                    await answer.body(MEGABYTE)
        assert CANARY not in f"{failed.value!s}{failed.value!r}{failed.value.members}"
        assert failed.value.__suppress_context__


# -- time


async def test_a_service_that_does_not_answer_is_not_waited_for() -> None:
    async with listening(silent) as listener, opened() as outbound, asyncio.timeout(10):
        with pytest.raises(OutboundFailed, match=r"sent nothing for 0\.2 s"):
            await get(outbound, listener.url, idle_seconds=0.2)
        with pytest.raises(OutboundFailed, match=r"took more than 0\.2 s"):
            await get(outbound, listener.url, seconds=0.2)


async def test_an_answer_that_stops_is_not_waited_for() -> None:
    async def stop(peer: Peer) -> None:
        await peer.head()
        await peer.say(CHUNKED, b"1\r\na\r\n")
        await asyncio.Event().wait()

    async with listening(stop) as listener, opened() as outbound, asyncio.timeout(10):
        with pytest.raises(OutboundFailed, match=r"sent nothing for 0\.2 s"):
            await get(outbound, listener.url, idle_seconds=0.2)


async def test_an_answer_that_never_ends_is_ended() -> None:
    async def drip(peer: Peer) -> None:
        await peer.head()
        await peer.say(CHUNKED)
        while True:
            await peer.say(b"1\r\na\r\n")
            await asyncio.sleep(0.02)

    async with listening(drip) as listener, opened() as outbound, asyncio.timeout(10):
        with pytest.raises(OutboundFailed, match=r"took more than 0\.4 s"):
            await get(outbound, listener.url, seconds=0.4, idle_seconds=0.2)


async def test_a_service_that_does_not_read_is_not_waited_for() -> None:
    async def deaf(peer: Peer) -> None:
        del peer
        await asyncio.Event().wait()

    body = b"x" * 20 * MEGABYTE
    async with listening(deaf) as listener, opened() as outbound, asyncio.timeout(10):
        with pytest.raises(OutboundFailed, match=r"took more than 0\.3 s"):
            async with outbound.request(
                "POST", listener.url, headers={}, body=body, seconds=0.3, idle_seconds=0.1
            ):
                pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends such connections")
async def test_a_service_that_does_not_read_keeps_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was sent and is not read would keep it open for ever, long after the call."""
    monkeypatch.setattr(http_outbound, "UNREAD_SECONDS", 1)

    async def deaf(peer: Peer) -> None:
        del peer
        await asyncio.Event().wait()

    body = b"x" * 20 * MEGABYTE
    async with listening(deaf) as listener, opened() as outbound, asyncio.timeout(20):
        with pytest.raises(OutboundFailed):
            async with outbound.request("POST", listener.url, headers={}, body=body, seconds=0.3):
                pass
        while _connections_to(listener.port):  # noqa: ASYNC110 - the kernel's work
            await asyncio.sleep(0.1)


def _connections_to(port: int) -> int:
    found = psutil.Process().net_connections("tcp4")
    return sum(bool(each.raddr) and each.raddr[1] == port for each in found)


async def test_time_that_the_caller_takes_is_nobodys_failure() -> None:
    """A slow reader does not make the service a silent one."""
    payload = b"x" * 4 * MEGABYTE

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(payload), payload)

    async with (
        listening(serve) as listener,
        opened() as outbound,
        asyncio.timeout(20),
        outbound.request("GET", listener.url, headers={}, idle_seconds=0.3) as answer,
    ):
        parts = answer.chunks()
        size = len(await anext(aiter(parts)))
        await asyncio.sleep(0.6)
        size += sum([len(part) async for part in parts])

    assert size == len(payload)


async def test_a_callers_own_trouble_is_left_alone() -> None:
    async with listening(lasting) as listener, opened() as outbound:
        for trouble in (TimeoutError("mine"), ValueError("mine"), ConnectionResetError("mine")):
            with pytest.raises(type(trouble), match="mine"):
                async with outbound.request("GET", listener.url, headers={}):
                    raise trouble


# -- how much, and how many


async def test_nothing_is_read_ahead_of_the_caller() -> None:
    wrote = count()
    block = b"x" * 65_536

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.say(HEAD + b"\r\n")
        while True:
            await peer.say(block)
            next(wrote)

    async with (
        listening(serve) as listener,
        opened() as outbound,
        asyncio.timeout(20),
        outbound.request("GET", listener.url, headers={}) as answer,
    ):
        tracemalloc.start()
        await anext(aiter(answer.chunks()))
        seen, now = -1, 0
        while seen != now:  # until what lies between us is full
            seen = now
            await asyncio.sleep(0.3)
            now = int(repr(wrote)[6:-1])
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert now * len(block) < 16 * MEGABYTE  # the kernel's
    assert held < 2 * MEGABYTE


async def test_large_answers_take_no_more_memory_than_small_ones() -> None:
    block = b"x" * 65_536

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.say(HEAD + b"Content-Length: %d\r\n\r\n" % (20 * MEGABYTE))
        await peer.say(*[block] * (20 * MEGABYTE // len(block)))

    async with listening(serve) as listener, opened() as outbound:
        tracemalloc.start()
        size = 0
        for _ in range(3):
            async with outbound.request("GET", listener.url, headers={}) as answer:
                async for part in answer.chunks():
                    size += len(part)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert size == 60 * MEGABYTE
    assert peak < 4 * MEGABYTE


async def test_a_connection_is_used_again_once_its_answer_was_read() -> None:
    async with listening(lasting) as listener, opened() as outbound:
        for _ in range(10):
            assert await get(outbound, listener.url) == b"ok"
        assert listener.connections == 1


async def test_a_connection_is_ended_when_its_answer_is_not_wanted() -> None:
    ended = asyncio.Event()

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.say(CHUNKED, b"1\r\na\r\n")
        assert await peer.reader.read() == b""
        ended.set()

    async with listening(serve) as listener, opened() as outbound, asyncio.timeout(10):
        async with outbound.request("GET", listener.url, headers={}) as answer:
            assert answer.status == 200
        await ended.wait()


async def test_a_call_that_is_cancelled_lets_go_of_its_service() -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def serve(peer: Peer) -> None:
        await peer.head()
        asked.set()
        assert await peer.reader.read() == b""
        ended.set()

    async with listening(serve) as listener, opened() as outbound, asyncio.timeout(10):
        task = asyncio.create_task(get(outbound, listener.url))
        await asked.wait()
        task.cancel()
        await ended.wait()
        assert (await asyncio.gather(task, return_exceptions=True))[0].__class__.__name__ == (
            "CancelledError"
        )


async def test_a_hundred_at_once_are_all_answered() -> None:
    together = asyncio.Barrier(100)

    async def serve(peer: Peer) -> None:
        await peer.head()
        await together.wait()
        await peer.say(OK)

    async with AsyncExitStack() as stack:
        listener = await stack.enter_async_context(listening(serve))
        outbound = await stack.enter_async_context(opened())
        await stack.enter_async_context(asyncio.timeout(30))
        answers = await asyncio.gather(*(get(outbound, listener.url) for _ in range(100)))

    assert answers == [b"ok"] * 100
    assert listener.connections == 100
