"""Who asks too often is told so, and when to come back; everybody else is served."""

import itertools
from collections.abc import AsyncIterator

import httpx
import pytest
from litestar.types import HTTPScope
from msgspec.structs import replace

from adapters.wiring import Services
from api.app import create_app
from api.bootstrap import bootstrap
from api.limits import ALLOWANCE, RateLimits, network_of
from domain.errors import LimitReached
from projections.reads import ReadModels
from tests.api.conftest import BASE, KEY, Api, listening

BURST = 5
WHO = "/v1/whoami"


@pytest.fixture
async def limited(services: Services, reads: ReadModels) -> AsyncIterator[Api]:
    """An API that allows each key five requests, and then one in a hundred seconds."""
    first = await bootstrap(services, api_key=KEY)
    settings = replace(services.settings, request_rate=0.01, request_burst=BURST)
    app = create_app(replace(services, settings=settings), reads, base=BASE)
    async with listening(app) as url, httpx.AsyncClient(base_url=url) as client:
        yield Api(services, app, client, first)


def scope_from(host: str) -> HTTPScope:
    """Return as much of a request as a bucket looks at."""
    return {"client": (host, 1), "state": {}}  # pyright: ignore[reportReturnType]  # a part of it


def admitted(limits: RateLimits, who: str) -> bool:
    """Whether one more request may pass."""
    try:
        limits.admit(scope_from("a"), who)
    except LimitReached:
        return False
    return True


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


async def test_answers_say_what_is_left(limited: Api) -> None:
    first = await limited.ask("GET", WHO)
    second = await limited.ask("GET", "/v1/runs/none")

    assert first.headers["x-ratelimit-limit"] == "5"
    assert first.headers["x-ratelimit-remaining"] == "4"
    assert first.headers["x-ratelimit-reset"] == "100"
    assert second.status_code == 404
    assert second.headers["x-ratelimit-remaining"] == "3"


async def test_a_key_that_asks_too_often_is_refused_in_each_wires_manner(limited: Api) -> None:
    other = await limited.make_key("viewer")
    for _ in range(BURST - 1):
        assert (await limited.ask("GET", WHO)).status_code == 200

    native = await limited.ask("GET", WHO)
    dialect = await limited.ask("GET", "/api/agents")
    others = await limited.ask("GET", WHO, key=other)

    assert native.status_code == 429
    assert native.headers["content-type"] == "application/problem+json"
    assert native.json()["type"] == "/problems/limit-reached"
    assert 99 <= int(native.headers["retry-after"]) <= 100
    assert native.json()["retry_after"] == int(native.headers["retry-after"])
    assert native.headers["x-ratelimit-remaining"] == "0"
    assert native.headers["x-request-id"]
    assert dialect.status_code == 429
    assert list(dialect.json()) == ["error"]
    assert dialect.headers["retry-after"]
    assert others.status_code == 200


async def test_strangers_share_the_limit_of_their_address_and_take_nothing_from_keys(
    limited: Api,
) -> None:
    asked = [await limited.ask("GET", WHO, key=f"argosy_wrong_{number}") for number in range(BURST)]

    again = await limited.ask("GET", WHO, key="argosy_wrong_again")
    nothing = await limited.ask("GET", "/nowhere", key=None)
    document = await limited.ask("GET", "/schema/openapi.json", key=None)
    known = await limited.ask("GET", WHO)

    assert [answer.status_code for answer in asked] == [401] * BURST
    assert [answer.status_code for answer in (again, nothing, document)] == [429] * 3
    assert known.status_code == 200


async def test_health_is_always_told(limited: Api) -> None:
    answers = [await limited.ask("GET", "/healthz", key=None) for _ in range(3 * BURST)]

    assert {answer.status_code for answer in answers} == {200}
    assert "x-ratelimit-limit" not in answers[0].headers


def test_a_bucket_fills_again_and_never_holds_more_than_a_burst() -> None:
    clock = Clock()
    limits = RateLimits(rate=10, burst=20, clock=clock)

    def taken_at_once() -> int:
        return next(number for number in itertools.count() if not admitted(limits, "a"))

    assert taken_at_once() == 20
    clock.now += 0.51
    assert taken_at_once() == 5
    clock.now += 3600
    assert taken_at_once() == 20


def test_what_is_left_counts_down_and_up() -> None:
    clock = Clock()
    limits = RateLimits(rate=2, burst=3, clock=clock)
    seen: list[int] = []

    for pause in (0.0, 0.0, 0.5, 10.0):
        clock.now += pause
        scope = scope_from("a")
        limits.admit(scope, "key:a")
        seen.append(scope["state"][ALLOWANCE].remaining)

    assert seen == [2, 1, 1, 2]


def test_no_limit_is_none() -> None:
    limits = RateLimits(rate=0, burst=1)
    scope = scope_from("a")

    for _ in range(1000):
        limits.admit(scope, "key:a")

    assert scope["state"] == {}


def test_buckets_are_forgotten_before_they_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.limits.KEEP_BUCKETS", 3)
    limits = RateLimits(rate=0.001, burst=1, clock=Clock())

    assert [admitted(limits, who) for who in "abcb"] == [True, True, True, False]
    assert admitted(limits, "d")
    assert [admitted(limits, who) for who in "bcda"] == [False, False, False, True]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2:3::4", "2001:db8:1:2:ffff::1", True),
        ("2001:db8:1:2::", "2001:db8:1:3::", False),
    ],
)
def test_an_address_is_what_one_customer_has(one: str, other: str, *, same: bool) -> None:
    assert (network_of(scope_from(one)) == network_of(scope_from(other))) == same
