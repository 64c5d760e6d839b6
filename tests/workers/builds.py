"""What the builder's tests share: hand-made packages, an index of them on loopback, a builder."""

import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from adapters.blobs import FolderBlobs
from adapters.pins import Pinned
from adapters.scratch import remove_tree
from domain.builds import BuildEnded, BuildPlanned, BuildRequested
from domain.entries import BuildLogged
from domain.execution import Base, Definition, SourceDefinition
from domain.limits import Limits
from tests.conftest import require
from tests.workers.packages import Index
from workers.builder.builder import run_build
from workers.builder.indexes import PackageIndex, find_index
from workers.builder.memory import recall, remember
from workers.builder.oci.making import KIND, system_layer_key
from workers.builder.oci.tars import Layer
from workers.builder.tools import BuildTools
from workers.layers import LayerCache
from workers.sandboxes.bases import find_base
from workers.sandboxes.driver import Driver, SandboxUnsupported
from workers.sandboxes.drivers import choose

LIMITS = Limits(memory_mb=1_024, cpu=2, pids=256, disk_mb=64, seconds=60, output_kb=256)
REQUEST = BuildRequested(
    build_id="build-1",
    workspace_id="workspace-1",
    agent_id="agent-1",
    agent_name="echo",
    version=1,
    deployment_id="deployment-1",
    revision=1,
    mode="FAST_OVERLAY",
)


class Builder:
    """A builder on a directory, and all that its builds said.

    anew: makes the system's layer of images itself; the others get what one of them made.
    """

    def __init__(
        self,
        directory: Path,
        driver: Driver,
        index: PackageIndex,
        *,
        limits: Limits = LIMITS,
        packages: Mapping[str, str] | None = None,
        locks: Mapping[str, tuple[Pinned, ...]] | None = None,
        anew: bool = False,
    ) -> None:
        python = find_base()
        self.blobs = FolderBlobs(directory / "blobs")
        self.layers = LayerCache(directory / "cache", self.blobs)
        self.tools = BuildTools(
            base=Base(
                name="python",
                python=python.version,
                packages=packages or {},
                frameworks=tuple(
                    Base(
                        name=name,
                        python=python.version,
                        packages={locked.name: locked.version for locked in lock},
                    )
                    for name, lock in (locks or {}).items()
                ),
            ),
            locks=locks or {},
            python=python,
            layers=self.layers,
            blobs=self.blobs,
            driver=driver,
            index=index,
            limits=limits,
            scope=driver.scope,
        )
        self.logged: list[BuildLogged] = []
        self.plans: list[BuildPlanned] = []
        self.anew = anew

    async def build(self, requirements: str, **fields: str) -> BuildEnded:
        """Build an agent with these requirements; its log and plan are those of this build."""
        source = await self.blobs.put(fields.pop("text", "print('hello')\n").encode())
        definition = SourceDefinition(
            files={
                "agent.py": source,
                **({"Dockerfile": source} if fields.pop("docker", "") else {}),
            },
            entry_point="agent.py",
            requirements=requirements,
            **fields,
        )
        return await self.build_definition(definition)

    async def build_definition(
        self, definition: Definition, request: BuildRequested = REQUEST
    ) -> BuildEnded:
        """Build any definition."""
        self.logged.clear()
        self.plans.clear()

        async def log(line: BuildLogged) -> None:
            self.logged.append(line)

        async def planned(plan: BuildPlanned) -> None:
            self.plans.append(plan)

        if not self.anew:
            await _offer_system(self.tools)
        end = await run_build(
            request, definition, attempt=1, tools=self.tools, log=log, planned=planned
        )
        if end.artifact:
            await _keep_system(self.tools)
        return end

    async def layer(self, end: BuildEnded) -> Path:
        """The dependency layer of a build that succeeded."""
        assert end.artifact, end
        return await self.layers.dependencies(end.artifact.dependencies)

    @property
    def text(self) -> str:
        return "\n".join(f"{line.step}: {line.line}" for line in self.logged)

    def leftovers(self) -> list[Path]:
        """What is half made."""
        return list((self.layers.directory / "scratch").iterdir())


_SYSTEM: dict[str, tuple[bytes, bytes]] = {}  # what is remembered of the layer, and the layer


async def _offer_system(tools: BuildTools) -> None:
    """Have the system's layer there: it takes seconds to make, and few tests are about it."""
    key, directory = system_layer_key(tools), tools.layers.directory
    if key in _SYSTEM and await recall(directory, KIND, key) is None:
        remembered, layer = _SYSTEM[key]
        await tools.blobs.put(layer)
        await remember(directory, KIND, key, remembered)


async def _keep_system(tools: BuildTools) -> None:
    key = system_layer_key(tools)
    remembered = await recall(tools.layers.directory, KIND, key)
    if key not in _SYSTEM and remembered is not None:
        layer = msgspec.json.decode(remembered, type=Layer)
        _SYSTEM[key] = remembered, await tools.blobs.get(layer.digest)


def the_driver() -> Driver:
    """The driver of this machine."""
    try:
        return choose()
    except SandboxUnsupported as error:
        require("bwrap", str(error))
        raise


@contextmanager
def open_directory() -> Generator[Path]:
    """A temporary directory that any uid can pass; pytest's own are closed."""
    path = Path(tempfile.mkdtemp(prefix="build-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        remove_tree(path)


def environment_for(url: str) -> dict[str, str]:
    """The variables of an operator with an index of their own."""
    certificates = os.environ.get("SSL_CERT_FILE")
    return {
        "UV_DEFAULT_INDEX": url,
        "UV_HTTP_RETRIES": "0",
        **({"SSL_CERT_FILE": certificates} if certificates else {}),
    }


def local(index: Index) -> PackageIndex:
    """The index as a builder is told of it."""
    return find_index("", environment_for(index.url))
