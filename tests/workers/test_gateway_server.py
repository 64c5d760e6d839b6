"""The gateway's sockets over real connections: what an agent gets."""

import asyncio

import pytest

from domain.entries import ToolReturned
from domain.errors import LimitReached, PolicyDenied
from tests.workers.gateways import (
    GET,
    Book,
    make_session,
    one_answer,
    opened,
    short_directory,
    status,
    until,
)
from workers.gateway.exchange import Exchange
from workers.gateway.server import SOCKET, Gateway
from workers.gateway.session import Session


async def test_it_says_that_it_is_there() -> None:
    async with opened() as door, door.client() as client:
        first = await client.get("/healthz")
        second = await client.get("/v1/healthz")
        head = await client.head("/healthz")

    assert (first.status_code, first.json()) == (200, {"status": "ok"})
    assert second.status_code == head.status_code == 200


async def test_a_connection_is_used_again() -> None:
    async with opened() as door:
        reader, writer = await door.connect()
        for _ in range(3):
            writer.write(GET)
            assert status(await one_answer(reader)) == 200
        writer.close()


async def test_the_socket_is_for_every_uid_and_gone_afterwards() -> None:
    with short_directory() as directory:
        deep = directory / ("d" * 100) / ("e" * 100)  # a path no socket's name can hold
        deep.mkdir(parents=True)
        async with Gateway().open(make_session(Book()), deep):
            mode = (deep / SOCKET).stat().st_mode & 0o777
        left = list(deep.iterdir())

    assert mode == 0o666
    assert left == []


async def test_what_is_not_there_is_named_with_what_is() -> None:
    async with opened() as door, door.client() as client:
        plain = await client.get("/nothing")
        model = await client.get("/v1/nothing")

    assert plain.status_code == model.status_code == 404
    assert plain.json()["code"] == "not-found"
    assert "/v1/chat/completions" in plain.json()["error"]
    assert model.json()["error"]["type"] == "not_found_error"
    assert "/v1/chat/completions" in model.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/runs/../tools/x", "/v1/%2e%2e/tools/x", "/runs/a/%0d%0ax"])
async def test_a_path_of_two_meanings_is_refused(path: str) -> None:
    async with opened() as door:
        answer = await door.say(f"GET {path} HTTP/1.1\r\nconnection: close\r\n\r\n".encode())

    assert status(answer) == 400


async def test_refusals_are_told_as_the_path_demands() -> None:
    async def deny(session: Session, exchange: Exchange) -> None:
        raise PolicyDenied("No policy allows it.", policy="none", rule=1)

    async def slow_down(session: Session, exchange: Exchange) -> None:
        raise LimitReached("Too fast.", retry_after=7)

    paths = (("/deny", deny), ("/v1/deny", deny), ("/v1/slow", slow_down))
    async with opened(None, *paths) as door, door.client() as client:
        plain = await client.get("/deny")
        model = await client.get("/v1/deny")
        limited = await client.get("/v1/slow")

    said = {"error": "No policy allows it.", "code": "policy-denied", "policy": "none", "rule": 1}
    assert (plain.status_code, plain.json()) == (403, said)
    assert model.json() == {
        "error": {
            "message": "No policy allows it.",
            "type": "permission_error",
            "param": None,
            "code": "policy-denied",
        }
    }
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")


async def test_a_bug_is_answered_without_detail_and_the_next_call_goes_on() -> None:
    async def broken(session: Session, exchange: Exchange) -> None:
        raise KeyError("a secret")

    async def silent(session: Session, exchange: Exchange) -> None:
        pass

    paths = (("/broken", broken), ("/silent", silent))
    async with opened(None, *paths) as door, door.client() as client:
        answers = [await client.get(path) for path in ("/broken", "/silent", "/healthz")]

    assert [answer.status_code for answer in answers] == [500, 500, 200]
    assert "secret" not in answers[0].text


async def test_half_an_answer_is_broken_off() -> None:
    async def half(session: Session, exchange: Exchange) -> None:
        await exchange.start(200, {"content-type": "text/plain"})
        await exchange.send(b"half")

    async with opened(None, ("/half", half)) as door:
        answer = await door.say(b"GET /half HTTP/1.1\r\n\r\n")

    assert answer.endswith(b"4\r\nhalf\r\n")


async def test_a_handler_hears_that_the_agent_has_gone() -> None:
    heard: list[str] = []

    async def watch(session: Session, exchange: Exchange) -> None:
        await exchange.body()
        heard.append("call")
        await exchange.gone()
        heard.append("gone")

    async def pour(session: Session, exchange: Exchange) -> None:
        await exchange.start(200, {})
        try:
            while True:
                await exchange.send(b"x")
                await asyncio.sleep(0)
        finally:
            heard.append("stopped")

    async with opened(None, ("/watch", watch), ("/pour", pour)) as door:
        for path in (b"watch", b"pour"):
            _, writer = await door.connect()
            writer.write(b"GET /%s HTTP/1.1\r\n\r\n" % path)
            await asyncio.sleep(0.05)  # it is under way by then, or else it only ends sooner
            writer.close()
            await until(lambda: heard[-1] in {"gone", "stopped"})

        await until(lambda: heard == ["call", "gone", "stopped"])


async def test_a_hundred_connections_are_served_at_once() -> None:
    inside = 0
    most = 0
    full = asyncio.Event()

    async def meet(session: Session, exchange: Exchange) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 100:
            full.set()
        await full.wait()
        inside -= 1
        await exchange.respond(200, b"")

    async with opened(None, ("/meet", meet)) as door, door.client(timeout=30) as client:
        answers = await asyncio.gather(*(client.get("/meet") for _ in range(100)))

    assert {answer.status_code for answer in answers} == {200}
    assert most == 100


async def test_calls_under_way_are_cancelled_when_the_run_is_over() -> None:
    events: list[str] = []

    async def endless(session: Session, exchange: Exchange) -> None:
        events.append("called")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            session.journal.add([ToolReturned(call_id="1", tool="t", failed=True)])
            events.append("recorded")

    async with opened(None, ("/endless", endless)) as door:
        reader, writer = await door.connect()
        writer.write(b"GET /endless HTTP/1.1\r\n\r\n")
        await until(lambda: events)

    assert events == ["called", "recorded"]
    assert door.book.entries == [ToolReturned(call_id="1", tool="t", failed=True)]
    assert await reader.read() == b""
    writer.close()
