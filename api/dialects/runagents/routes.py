"""The RunAgents dialect, generation v0: `/api/…` and `/runs…` at the host's root.

Bodies, envelopes and errors are translated to the same commands and read models that the native API
uses; there are no rules here. `docs/reference/runagents.md` says what was chosen where the
original's documents are silent.
"""

from typing import Any

import msgspec
from litestar import MediaType, Response, Router
from litestar.di import Provide

from api.auth import Authentication
from api.calls import provide_call
from api.dialects.runagents.agents import delete_agent, list_agents, show_agent
from api.dialects.runagents.deploy import deploy_agent
from api.dialects.runagents.invoke import invoke_agent
from api.dialects.runagents.runs import list_events, list_runs, show_run
from api.problems import Problem

# What is below these answers errors in the dialect's envelope, what nobody serves included.
PREFIXES = ("/api", "/runs", "/governance", "/ingestion")


def routers() -> list[Router]:
    """Return the dialect's routes. They are its own; the native document does not list them."""
    return [
        Router(
            path,
            route_handlers=handlers,
            middleware=[Authentication],
            dependencies={"call": Provide(provide_call)},
            include_in_schema=False,
        )
        for path, handlers in (
            ("/api", [deploy_agent, list_agents, show_agent, delete_agent, invoke_agent]),
            ("/runs", [list_runs, show_run, list_events]),
        )
    ]


def envelope(problem: Problem) -> Response[Any]:
    """Return `{"error": "<text>"}`. What is well formed but nonsense is a 400 here, too."""
    status = 400 if problem.status == 422 else problem.status
    return Response(
        msgspec.json.encode({"error": problem.detail}),
        status_code=status,
        media_type=MediaType.JSON,
        headers=dict(problem.headers),
    )
