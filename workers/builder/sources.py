"""Requirements that no set of wheels meets: what lacks wheels is built from source, one by one.

Each time the resolver names a package without wheels, one is built of its newest source that all
requirements of it allow, and the resolver may choose that, too. So the resolver itself never runs
anything of a package: what a package requires, it reads from the wheel.
"""

from domain.execution import Base
from workers.builder.failures import Failure, unsatisfiable
from workers.builder.plan import STEP as RESOLVE
from workers.builder.plan import Built, Lock, resolve
from workers.builder.programs import Say
from workers.builder.requirements import Requirements
from workers.builder.sdists import choose_sdist, has_wheel
from workers.builder.tools import BuildTools
from workers.builder.wheels import make_wheel

MOST_BUILT = 20  # wheels of one build


async def resolve_from_source(
    tools: BuildTools, base: Base, requirements: Requirements, failed: Failure, say: Say
) -> Lock | Failure:
    """Return a lock with wheels that were built for it. `failed`: the resolution without them.

    A package is built again, from another version, if what it was built from turns out not to do.
    """
    by_name = requirements.by_name()
    built: list[Built] = []
    for _ in range(MOST_BUILT):
        sdist = await choose_sdist(tools, failed, by_name.get(failed.unbuilt), say)
        if isinstance(sdist, Failure):
            return sdist
        was_built = any((wheel.name, wheel.sdist) == (sdist.name, sdist.sha256) for wheel in built)
        if was_built or await has_wheel(tools, sdist):
            # The resolver has had that very version to choose from. Older ones are not built.
            return unsatisfiable(RESOLVE, failed.said)
        await say(f"{sdist.name} {sdist.version} has no wheel: it is built from source")
        wheel = await make_wheel(tools, sdist, say)
        if isinstance(wheel, Failure):
            return wheel
        built.append(wheel)
        found = await resolve(tools, base, requirements, say, tuple(built))
        if isinstance(found, Lock) or not found.unbuilt:
            return found
        failed = found
    return Failure(
        step="source",
        detail=f"More than {MOST_BUILT} packages would have to be built from source.",
        hint="Require packages that have wheels for this Python and platform.",
    )
