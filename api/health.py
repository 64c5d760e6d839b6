"""Whether the process lives, and whether it can serve."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Literal

from litestar import Request, Response, get
from litestar.datastructures import State
from msgspec import Struct

from api.calls import Shared
from api.problems import DOWN
from domain.errors import Unavailable

CHECK_SECONDS = 2.0

type Condition = Literal["ok", "degraded", "down"]


class Health(Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"]


class Checks(Struct, frozen=True, kw_only=True):
    """redis: only hints travel there, so without it everything works, later."""

    database: Condition
    redis: Condition
    projections: Condition


class Readiness(Struct, frozen=True, kw_only=True):
    """status: `ok` while requests can be served, perhaps slowly; `draining` before the end."""

    status: Condition | Literal["draining"]
    checks: Checks


@get("/healthz", operation_id="Health", tags=["Health"])
async def healthz() -> Health:
    """Say that the process answers."""
    return Health("ok")


@get("/readyz", operation_id="Readiness", tags=["Health"])
async def readyz(request: Request[Any, Any, State]) -> Response[Readiness]:
    """Say whether the database, Redis and the read models can be used.

    503 without a database, and by a process that was told to stop.
    """
    shared: Shared = request.app.state.shared
    database, redis, projections = await asyncio.gather(
        _answers(shared.services.store.head()),
        _answers(shared.services.live.ping()),
        _projections(shared),
    )
    checks = Checks(
        database=database,
        redis="degraded" if redis == "down" else redis,
        projections=projections,
    )
    status = "degraded" if "degraded" in (checks.redis, projections) else "ok"
    status = "down" if database == "down" else status
    if shared.draining:
        status = "draining"
    code = 503 if status in ("down", "draining") else 200
    return Response(Readiness(status=status, checks=checks), status_code=code)


async def _answers(asking: Coroutine[Any, Any, Any]) -> Condition:
    try:
        answer = await _soon(asking)
    except (*DOWN, Unavailable):
        return "down"
    return "down" if answer is False else "ok"


async def _projections(shared: Shared) -> Condition:
    """Lists are the only thing that needs the read models."""
    try:
        served = await _soon(shared.reads.positions())
    except (*DOWN, Unavailable):
        return "degraded"
    stopped = any(each.state == "stopped" for each in served.values())
    return "degraded" if stopped or not served else "ok"


async def _soon[T](asking: Coroutine[Any, Any, T]) -> T:
    """Return an answer that comes in time. Raises TimeoutError.

    Drivers that are cancelled may want to say goodbye to a server that has vanished.
    """
    task = asyncio.create_task(asking)
    task.add_done_callback(_hear_out)
    done, _ = await asyncio.wait({task}, timeout=CHECK_SECONDS)
    if not done:
        task.cancel()
        raise TimeoutError
    return task.result()


def _hear_out(task: asyncio.Task[Any]) -> None:
    """Take note of what nobody asks for any more."""
    if not task.cancelled():
        task.exception()
