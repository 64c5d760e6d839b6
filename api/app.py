"""The HTTP application: which routes there are, and what stands around all of them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide

from adapters.bases import find_base
from adapters.wiring import Services
from api import (
    agents,
    builds,
    deployments,
    events,
    health,
    keys,
    model_providers,
    policies,
    previews,
    registries,
    revisions,
    runs,
    starter_kit,
    streams,
    tools,
    workspaces,
)
from api.access import AccessLog
from api.auth import Authentication
from api.bodies import StrictBody
from api.calls import Shared, provide_call
from api.dialects.oci import routes as oci
from api.dialects.oci.answers import PREFIX, envelope
from api.dialects.runagents import routes as runagents
from api.metrics import show_metrics
from api.openapi import openapi_config
from api.problems import MAX_BODY_BYTES, ErrorAnswers
from domain.execution import Base
from projections.reads import ReadModels

NATIVE = (
    keys.whoami,
    keys.Keys,
    workspaces.Workspaces,
    tools.Tools,
    policies.Policies,
    model_providers.ModelProviders,
    registries.Registries,
    starter_kit.create_starter_kit,
    deployments.Deployments,
    deployments.show_deployment,
    revisions.Revisions,
    previews.preview_deploy,
    agents.Agents,
    agents.AgentsById,
    builds.list_workspace_builds,
    builds.show_build,
    builds.cancel_build,
    builds.follow_build,
    runs.create_run,
    runs.list_workspace_runs,
    runs.show_run,
    runs.cancel_run,
    runs.follow_run,
    runs.list_files,
    runs.download_file,
    runs.read_output,
    events.read_log,
    streams.Streams,
)


def create_app(services: Services, reads: ReadModels, *, base: Base | None = None) -> Litestar:
    """Return the application. It follows live streams while it is up, and closes nothing it got.

    base: what sources are judged against; by default the base environment of this machine.
    """
    shared = Shared(services, reads, base or find_base(services.settings.pythons))
    envelopes = {**dict.fromkeys(runagents.PREFIXES, runagents.envelope), PREFIX: envelope}
    errors = ErrorAnswers(envelopes, shared.limits)

    @asynccontextmanager
    async def following(_: Litestar) -> AsyncGenerator[None]:
        task = asyncio.create_task(shared.hub.run(), name="live hub")
        try:
            yield
        finally:
            shared.hub.close()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    v1 = Router(
        "/v1",
        route_handlers=NATIVE,
        middleware=[Authentication],
        dependencies={"call": Provide(provide_call)},
        dto=StrictBody,
        return_dto=None,
    )
    app = Litestar(
        route_handlers=[
            health.healthz,
            health.readyz,
            show_metrics,
            v1,
            oci.router(),
            *runagents.routers(),
        ],
        exception_handlers={Exception: errors},
        lifespan=[following],
        logging_config=None,
        openapi_config=openapi_config(runagents.document()),
        request_max_body_size=MAX_BODY_BYTES,
        state=State({"shared": shared}),
    )
    app.asgi_handler = AccessLog(app.asgi_handler)
    return app
