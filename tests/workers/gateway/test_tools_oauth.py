"""OAuth2 tools: a token for the client, fetched once, kept, renewed, and never shown."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import pytest
from msgspec import Struct
from msgspec.structs import replace

from domain.catalog import OAuth2Client, Tool
from domain.entries import ToolResponded
from tests.workers.gateway.doors import Door, lock, open_door
from tests.workers.gateway.services import (
    Answering,
    Asked,
    Service,
    answer,
    answer_json,
    reflect,
    serving,
)
from tests.workers.worlds import World, eventually
from workers.gateway.oauth import Tokens

SECRET = "client-canary: /+"
CLIENT = OAuth2Client(
    token_url="", client_id="my client", scopes=["read", "write"], parameters={"audience": "a b"}
)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Issuer(Struct):
    """A token endpoint: counts what it issues. `refuses`: the header, as some do."""

    issued: int = 0
    expires_in: Any = 3600
    refuses: Callable[[Asked], bool] = lambda _: False
    answers: dict[str, Any] | None = None
    status: int = 200

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        if self.refuses(asked):
            await answer_json({"error": "invalid_client"}, 401)(asked, writer)
            return
        self.issued += 1
        token = {"access_token": f"token-canary-{self.issued}", "token_type": "Bearer"}
        fields = {**token, "expires_in": self.expires_in} if self.answers is None else self.answers
        await answer_json(fields, self.status)(asked, writer)


@pytest.fixture
def world(quiet_world: World) -> World:
    return quiet_world


@asynccontextmanager
async def behind(
    world: World, issuer: Answering, tool: Answering = reflect, clock: Clock | None = None
) -> AsyncGenerator[tuple[Service, Service, Door]]:
    """A tool behind a token endpoint."""
    async with serving(issuer) as tokens, serving(tool) as service:
        client = replace(CLIENT, token_url=f"{tokens.url}/token")
        spec = Tool(base_url=service.url, auth_type="OAuth2", oauth2=client)
        kept = Tokens(clock or Clock())
        async with open_door(world, tools={"web": spec}, tokens=kept) as door:
            await lock(door, SECRET)
            yield tokens, service, door


async def test_a_token_is_fetched_for_the_client_and_added_and_masked(world: World) -> None:
    async with behind(world, Issuer()) as (tokens, service, door):
        answered = await door.agent.get("/web/x", headers={"Authorization": "own"})

        for canary in ("token-canary", "client-canary"):
            assert await door.canaries(canary) == []
    (asked,), (called,) = tokens.asked, service.asked
    assert called.headers["authorization"] == "Bearer token-canary-1"
    assert answered.json()["headers"]["authorization"] == "Bearer **************"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["read write"],
        "audience": ["a b"],
    }
    user, _, password = b64decode(asked.headers["authorization"].split()[1]).decode().partition(":")
    assert (unquote_plus(user), unquote_plus(password)) == ("my client", SECRET)


async def test_an_endpoint_that_wants_the_client_in_the_body_is_asked_again(world: World) -> None:
    issuer = Issuer(refuses=lambda asked: "authorization" in asked.headers)
    async with behind(world, issuer) as (tokens, _, door):
        assert (await door.agent.get("/web/x")).status_code == 200

    form = parse_qs(tokens.asked[1].body.decode())
    assert (form["client_id"], form["client_secret"]) == (["my client"], [SECRET])


async def test_a_token_is_kept_until_shortly_before_it_expires(world: World) -> None:
    clock = Clock()
    async with behind(world, Issuer(expires_in="3600"), clock=clock) as (tokens, service, door):
        for seconds in (0, 3569, 2):
            clock.now += seconds
            await door.agent.get("/web/x")

    assert len(tokens.asked) == 2
    used = [asked.headers["authorization"][-1] for asked in service.asked]
    assert used == ["1", "1", "2"]


async def test_many_calls_at_once_fetch_one_token_even_if_the_first_gives_up(
    world: World,
) -> None:
    issuer, asked_for, release = Issuer(), asyncio.Event(), asyncio.Event()

    async def slowly(asked: Asked, writer: asyncio.StreamWriter) -> None:
        asked_for.set()
        await release.wait()
        await issuer(asked, writer)

    async with behind(world, slowly) as (tokens, service, door):
        first = asyncio.create_task(door.agent.get("/web/first"))
        await asked_for.wait()
        calls = [asyncio.create_task(door.agent.get(f"/web/{n}")) for n in range(20)]
        first.cancel()
        await eventually(lambda: _responded(door, "hung up"))
        release.set()
        answers = await asyncio.gather(*calls)

    assert {each.status_code for each in answers} == {200}
    assert len(tokens.asked) == 1
    assert len(service.asked) == 20


async def _responded(door: Door, error: str) -> bool:
    entries = await door.entries()
    return any(isinstance(each, ToolResponded) and error in each.error for each in entries)


async def test_a_token_that_the_tool_refuses_is_renewed_once(world: World) -> None:
    async def choosy(asked: Asked, writer: asyncio.StreamWriter) -> None:
        revoked = asked.headers["authorization"].endswith("-1")
        await answer_json({"body": asked.body.decode()}, 401 if revoked else 200)(asked, writer)

    async with behind(world, Issuer(), choosy) as (tokens, service, door):
        answered = await door.agent.post("/web/x", content=b"once")
        again = await door.agent.get("/web/x")

        assert [each.status for each in (await door.entries())[1::2]] == [200, 200]
    assert (answered.status_code, answered.json()) == (200, {"body": "once"})
    assert again.status_code == 200
    assert (len(tokens.asked), len(service.asked)) == (2, 3)


async def test_a_tool_that_refuses_every_token_says_so_itself(world: World) -> None:
    async with behind(world, Issuer(), answer(b"no", 401)) as (tokens, service, door):
        answered = await door.agent.get("/web/x")

    assert (answered.status_code, answered.text) == (401, "no")
    assert (len(tokens.asked), len(service.asked)) == (2, 2)


@pytest.mark.parametrize(
    ("issuer", "said"),
    [
        (Issuer(answers={"error": "invalid_scope"}, status=400), "answered 400 (invalid_scope)"),
        (Issuer(answers={"error": SECRET}, status=400), "answered 400."),
        (Issuer(answers={"error": {"code": 1}}, status=400), "answered 400."),
        (Issuer(answers={"error": "invalid_client"}, status=401), "answered 401 (invalid_client)"),
        (Issuer(answers={}), "answered no access_token"),
        (Issuer(answers={"access_token": "a\r\nb"}), "answered no access_token"),
        (Issuer(answers={"access_token": "a", "token_type": "mac"}), "not a bearer token"),
        (answer(b"<html>"), "answered no access_token"),
        (answer(b" " * 70_000), ""),
    ],
)
async def test_what_is_no_token_is_told_without_any_secret(
    world: World, issuer: Answering, said: str
) -> None:
    async with behind(world, issuer) as (_, service, door):
        answered = await door.agent.get("/web/x")

        assert (await door.responded()).error == answered.json()["error"]
    assert answered.status_code == 502
    assert "There is no token for tool web: " in answered.json()["error"]
    assert said in answered.json()["error"]
    assert "canary" not in answered.json()["error"]
    assert service.asked == []


async def test_a_failed_fetch_is_tried_again_by_the_next_call(world: World) -> None:
    issuer = Issuer(status=503)
    async with behind(world, issuer) as (_, _, door):
        assert (await door.agent.get("/web/x")).status_code == 502
        issuer.status = 200
        assert (await door.agent.get("/web/x")).status_code == 200


async def test_another_revision_of_the_tool_gets_another_token(world: World) -> None:
    async with behind(world, Issuer()) as (tokens, _, door):
        await door.agent.get("/web/x")
        web = door.shelf.tools["web"]
        assert web.oauth2 is not None
        narrower = replace(web.oauth2, scopes=["read"])
        door.shelf.tools["web"] = replace(web, oauth2=narrower)
        await door.agent.get("/web/x")

    assert [parse_qs(asked.body.decode())["scope"] for asked in tokens.asked] == [
        ["read write"],
        ["read"],
    ]


async def test_a_tool_without_a_client_says_what_it_lacks(world: World) -> None:
    tools = {"web": Tool(base_url="http://127.0.0.1:1", auth_type="OAuth2")}
    async with open_door(world, tools=tools) as door:
        answered = await door.agent.get("/web/x")

    assert answered.status_code == 502
    assert answered.json()["error"] == "Tool web has no OAuth2 client; declare it with one."
