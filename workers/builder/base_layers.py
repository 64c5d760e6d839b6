"""The layer of a base environment's packages: made on first use, from the lock file of the base."""

from domain.errors import NotFound
from domain.execution import Base
from workers.builder.failures import Failure
from workers.builder.overlay import Overlay, find_overlay, make_overlay
from workers.builder.plan import Lock
from workers.builder.programs import Say
from workers.builder.tools import BuildTools


def find_framework_base(tools: BuildTools, name: str) -> tuple[BuildTools, Base]:
    """Return a base that has packages, and its tools. Raises NotFound, naming those there are."""
    there = [(each, base) for each in all_tools(tools) for base in each.base.frameworks]
    for each, base in there:
        if base.name == name:
            return each, base
    known = ", ".join(base.name for _, base in there)
    raise NotFound(f"There is no base environment {name[:100]!r} with packages; there are {known}.")


def all_tools(tools: BuildTools) -> tuple[BuildTools, ...]:
    """Return the tools of each Python."""
    return (tools, *tools.others.values())


async def find_base_layer(tools: BuildTools, base: Base) -> str:
    """Return the digest of the base's layer, ready on this machine; empty if it is to be made."""
    return await find_overlay(tools, _lock(tools, base))


async def make_base_layer(tools: BuildTools, base: Base, say: Say) -> Overlay | Failure:
    """Return the base's layer, installed if it is not there. Raises Unavailable."""
    return await make_overlay(tools, _lock(tools, base), say)


def _lock(tools: BuildTools, base: Base) -> Lock:
    return Lock(tools.locks[base.name], 0.0)
