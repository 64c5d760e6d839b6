"""A build by a container engine, step by step."""

from adapters.engines import open_engine
from domain.builds import BuildRequested
from domain.execution import Image, SourceDefinition
from workers.builder.engine.building import EngineBuild
from workers.builder.engine.parents import Parent, take_parent
from workers.builder.engine.recipes import find_recipe
from workers.builder.failures import Failure
from workers.builder.journal import Journal
from workers.builder.tools import BuildTools
from workers.images.fetching import check_program, unpack_image


async def build_by_engine(
    tools: BuildTools,
    request: BuildRequested,
    definition: SourceDefinition,
    reason: str,
    journal: Journal,
) -> Image | Failure:
    """Build a version that needs an environment of its own. reason: why it does.

    Raises NotFound for a lost file, Unavailable where the engine or the disk fails.
    """
    recipe = await find_recipe(tools, request.agent_name, definition)
    if isinstance(recipe, Failure):
        return recipe
    async with open_engine(tools.settings.engine) as engine:
        await journal.enter("resolve")
        parents: dict[str, Parent] = {}
        for name in recipe.dockerfile.images:
            parent = await take_parent(tools, engine, request.workspace_id, name, journal)
            if isinstance(parent, Failure):
                return parent
            parents[name] = parent
        upon = "; ".join(each.whence for each in parents.values()) or "nothing"
        await journal.plan("FULL_BUILD", f"{reason} It is built upon: {upon}.")
        image = await EngineBuild(tools, engine, request, journal).run(recipe, parents)
    if isinstance(image, Failure):
        return image
    idle = check_program(journal.step, await tools.blobs.get(image.config))
    if idle:
        return idle
    await journal.enter("unpack")
    return await unpack_image(tools, image) or image
