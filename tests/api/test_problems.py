"""Every error has one shape, whatever raised it."""

from typing import Any

import httpx
import msgspec
import pytest
import redis
import sqlalchemy.exc
from litestar import Litestar, get

from api.access import AccessLog
from api.limits import RateLimits
from api.problems import ErrorAnswers
from domain import builds, drafts, errors, requesting, runs
from domain.errors import ArgosyError
from tests.errors_reference import refusals

EXAMPLES: dict[type[ArgosyError], ArgosyError] = {
    errors.Invalid: errors.Invalid("No.", field="x"),
    errors.WrittenByNewer: errors.WrittenByNewer("run"),
    errors.LimitReached: errors.LimitReached("Later.", retry_after=7),
    runs.RunAlreadyEnded: runs.RunAlreadyEnded("r1", "failed"),
    runs.RunNotHeld: runs.RunNotHeld("r1"),
    builds.BuildAlreadyEnded: builds.BuildAlreadyEnded("b1", "failed"),
    builds.BuildNotHeld: builds.BuildNotHeld("b1"),
    drafts.DraftHasChanged: drafts.DraftHasChanged("d1", 2, 1),
    drafts.DraftHasEnded: drafts.DraftHasEnded("d1", "completed", "echo"),
    requesting.DeploymentFailed: requesting.DeploymentFailed("Broken.", deployment="d1"),
}


async def answer_to(error: Exception, path: str = "/") -> httpx.Response:
    """Return what a handler that raises is answered with."""

    @get(path)
    async def broken() -> None:
        raise error

    app = Litestar(
        [broken],
        exception_handlers={Exception: ErrorAnswers({}, RateLimits(rate=0, burst=1))},
        openapi_config=None,
        logging_config=None,
    )
    app.asgi_handler = AccessLog(app.asgi_handler)
    transport = httpx.ASGITransport(app=app)  # pyright: ignore[reportArgumentType]  # ASGI's types
    async with httpx.AsyncClient(transport=transport, base_url="http://argosy") as client:
        return await client.get(path)


@pytest.mark.parametrize("kind", refusals(), ids=lambda kind: kind.__name__)
async def test_a_refusal_becomes_a_problem(kind: type[ArgosyError]) -> None:
    refusal = EXAMPLES.get(kind) or kind("It is so.", fact="f")

    answer = await answer_to(refusal)

    assert answer.status_code == kind.status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"/problems/{kind.type}"
    assert problem["title"] == kind.title
    assert problem["status"] == kind.status
    assert problem["detail"] == refusal.detail
    assert problem["request_id"] == answer.headers["x-request-id"]
    for name, value in refusal.members.items():
        assert problem[name] == value


async def test_when_to_come_back_is_a_header() -> None:
    limit = await answer_to(errors.LimitReached("Later.", retry_after=7))
    down = await answer_to(errors.Unavailable("The disk is full."))

    assert limit.headers["retry-after"] == "7"
    assert down.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    "error",
    [
        sqlalchemy.exc.OperationalError("SELECT secret", {}, Exception("gone")),
        redis.ConnectionError("gone"),
        ConnectionResetError("gone"),
        TimeoutError("gone"),
    ],
)
async def test_a_dependency_that_is_down_is_unavailable(error: Exception) -> None:
    answer = await answer_to(error)

    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/unavailable"
    assert "secret" not in answer.text


async def test_a_bug_says_nothing_but_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    answer = await answer_to(ValueError("password=hunter2"))

    assert answer.status_code == 500
    problem: dict[str, Any] = msgspec.json.decode(answer.content)
    assert problem["type"] == "/problems/internal"
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text
    assert problem["request_id"] in capsys.readouterr().out
