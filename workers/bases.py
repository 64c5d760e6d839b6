"""`python -m workers base list|build`: the base environments of this machine, for its operator."""

import sys

import msgspec
from msgspec import Struct

from adapters.settings import Settings
from adapters.wiring import open_blobs
from domain.errors import Invalid
from workers.builder.base_layers import (
    all_tools,
    find_base_layer,
    find_framework_base,
    make_base_layer,
)
from workers.builder.failures import Failure
from workers.builder.tools import BuildTools
from workers.sandboxes.namespaces import Paths
from workers.workshops import open_tools


class Listed(Struct, frozen=True, kw_only=True):
    """One base. `layer`: digest of its packages, empty while they are not on this machine.

    packages: versions by name, of those that the base has of its own.
    """

    name: str
    python: str
    packages: dict[str, str]
    layer: str


async def list_bases(settings: Settings, paths: Paths, *, as_json: bool) -> None:
    """Write the bases to standard output: a table, or a JSON array."""
    bases = await listed(_open_tools(settings, paths))
    if as_json:
        sys.stdout.write(f"{msgspec.json.encode(bases).decode()}\n")
        return
    for base in bases:
        state = "ready" if base.layer or not base.packages else "not made yet"
        sys.stdout.write(
            f"{base.name:<26}Python {base.python:<8}{len(base.packages):>4} packages  {state}\n"
        )


async def listed(tools: BuildTools) -> list[Listed]:
    """Return the plain base of each Python, and after it those with packages."""
    found: list[Listed] = []
    for each in all_tools(tools):
        for base in (each.base, *each.base.frameworks):
            layer = await find_base_layer(each, base) if base.packages else ""
            packages = dict(base.packages)
            found.append(Listed(name=base.name, python=base.python, packages=packages, layer=layer))
    return found


async def build_base(settings: Settings, paths: Paths, name: str, *, as_json: bool) -> None:
    """Make a base's layer, saying what happens on standard error, its digest on standard output.

    Raises NotFound for a name that is not a base's, Invalid if it cannot be made, Unavailable.
    """
    tools = _open_tools(settings, paths)
    made = await make_base_layer(*find_framework_base(tools, name), _say)
    if isinstance(made, Failure):
        raise Invalid(f"{made.detail} {made.hint}".strip(), field="name")
    said = msgspec.json.encode({"name": name, "layer": made.digest}).decode()
    sys.stdout.write(f"{said if as_json else made.digest}\n")


def _open_tools(settings: Settings, paths: Paths) -> BuildTools:
    return open_tools(settings, open_blobs(settings), paths)


async def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
