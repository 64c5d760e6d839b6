"""The starter kit: what a first agent needs, made with one request."""

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.calls import Call, Outcome, positioned
from api.tenancy import Place
from domain.handling import Unit
from domain.ids import new_id
from domain.starter_kit import StarterKit, seed_starter_kit


@post(
    "/workspaces/{workspace:str}/starter-kit",
    operation_id="SeedStarterKit",
    status_code=201,
    opt={"needs": "write"},
    tags=["Starter kit"],
)
async def create_starter_kit(
    workspace: FromPath[str], call: NamedDependency[Call]
) -> Response[StarterKit]:
    """Make `echo-tool`, `playground-llm` and `echo-read-policy`, as far as they are missing."""
    made = await seed_once(call, await call.open_workspace(workspace))
    return positioned(made.facts, made.position, 201)


async def seed_once(call: Call, place: Place) -> Outcome[StarterKit]:
    """Make what is missing of the kit, once per idempotency key."""

    async def work(unit: Unit) -> StarterKit:
        return await seed_starter_kit(unit, place.id, new_id)

    key = f"starter kit {place.id}"
    return await call.once(work, StarterKit, workspace_id=place.id, key=key)
