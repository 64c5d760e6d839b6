"""The RunAgents dialect, generation v0: `/api/…` and `/runs…` at the host's root.

Bodies, envelopes and errors are translated to the same commands and read models that the native API
uses; there are no rules here. `docs/reference/runagents.md` says what was chosen where the
original's documents are silent.
"""

from typing import Any

import msgspec
from litestar import MediaType, Response, Router
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler

from api.auth import Authentication
from api.calls import provide_call
from api.dialects.runagents import (
    agents,
    artifacts,
    deploy,
    drafts,
    invoke,
    model_providers,
    policies,
    preview,
    runs,
    starter_kit,
    tools,
)
from api.dialects.runagents.document import serve_document
from api.problems import Problem

# What is below these answers errors in the dialect's envelope, what nobody serves included.
PREFIXES = ("/api", "/runs", "/governance", "/ingestion")


API = (
    deploy.deploy_agent,
    preview.preview_agent,
    artifacts.list_artifacts,
    artifacts.store_artifact,
    artifacts.show_artifact,
    drafts.list_deploy_drafts,
    drafts.create_draft,
    drafts.show_draft,
    drafts.change_draft,
    drafts.complete_draft,
    drafts.abandon_draft,
    drafts.delete_draft,
    starter_kit.seed,
    agents.list_agents,
    agents.show_agent,
    agents.delete_agent,
    invoke.invoke_agent,
    tools.list_tools,
    tools.apply_tool,
    tools.show_tool,
    tools.delete_tool,
    policies.list_policies,
    policies.apply_policy,
    policies.show_policy,
    policies.replace_policy,
    policies.delete_policy,
    model_providers.list_model_providers,
    model_providers.apply_model_provider,
    model_providers.show_model_provider,
    model_providers.delete_model_provider,
)
RUNS = (runs.list_runs, runs.show_run, runs.list_events)
ROUTES = {"/api": API, "/runs": RUNS}


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
        for path, handlers in ROUTES.items()
    ]


def document() -> HTTPRouteHandler:
    """Return the handler that serves the dialect's document."""
    return serve_document(ROUTES)


def envelope(problem: Problem) -> Response[Any]:
    """Return `{"error": "<text>"}`, and in the text the field that is wrong.

    What is well formed but nonsense is a 400 here, too.
    """
    status = 400 if problem.status == 422 else problem.status
    field, text = str(problem.members.get("field", "")), problem.detail
    if field not in text:
        text = f"{field}: {text}"
    return Response(
        msgspec.json.encode({"error": text}),
        status_code=status,
        media_type=MediaType.JSON,
        headers=dict(problem.headers),
    )
