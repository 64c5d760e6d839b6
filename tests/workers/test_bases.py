"""Builds over bases of frameworks, whose packages come from an index on loopback."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.pins import Pinned
from domain.builds import BuildEnded
from domain.errors import NotFound
from domain.execution import Artifact
from tests.workers.builds import Builder, local, the_driver
from tests.workers.packages import Index, make_wheel, serve
from workers.bases import listed
from workers.builder.base_layers import find_framework_base, make_base_layer
from workers.builder.overlay import Overlay


@pytest.fixture
def locks(directory: Path) -> dict[str, tuple[Pinned, ...]]:
    """The base of a framework with two packages, and one that the index does not have."""
    folder = directory / "index"
    graph = make_wheel(folder, "graph", "1.0", requires=["core<2"])
    core = make_wheel(folder, "core", "1.5")
    make_wheel(folder, "core", "2.0")
    make_wheel(folder, "extra", "0.1", requires=["core>=1"])
    return {
        "langgraph": (
            Pinned("core", "1.5", (f"sha256:{core}",)),
            Pinned("graph", "1.0", (f"sha256:{graph}",)),
        ),
        "crewai": (Pinned("crew", "1.0", (f"sha256:{core}",)),),
    }


@pytest.fixture
def index(directory: Path, locks: dict[str, tuple[Pinned, ...]]) -> Iterator[Index]:
    with serve(Index(directory / "index")) as served:
        yield served


@pytest.fixture
def builder(directory: Path, index: Index, locks: dict[str, tuple[Pinned, ...]]) -> Builder:
    return Builder(directory, the_driver(), local(index), locks=locks)


def built(end: BuildEnded) -> Artifact:
    assert end.artifact is not None, end
    return end.artifact


async def contents(builder: Builder, digest: str) -> set[str]:
    layer = await builder.layers.dependencies(digest)
    return {path.name for path in layer.glob("*.py")}


async def test_a_framework_that_is_named_brings_its_packages(builder: Builder) -> None:
    artifact = built(await builder.build("", framework="langgraph"))

    assert (artifact.base, artifact.dependencies) == ("langgraph", "")
    assert await contents(builder, artifact.base_packages) == {"core.py", "graph.py"}
    (plan,) = builder.plans
    assert (plan.mode, plan.confirmed, plan.lock_digest) == ("INSTANT_RUNTIME", False, "")
    assert "over langgraph" in plan.evidence


async def test_what_the_base_meets_is_not_installed_again(builder: Builder) -> None:
    artifact = built(await builder.build("graph>=1\ncore==1.5\n", framework="LangChain"))

    assert (artifact.base, artifact.dependencies) == ("langgraph", "")
    assert builder.plans[0].mode == "INSTANT_RUNTIME"


async def test_only_what_the_base_lacks_is_in_the_overlay(builder: Builder) -> None:
    artifact = built(await builder.build("extra\n", framework="langgraph"))

    assert await contents(builder, artifact.dependencies) == {"extra.py"}
    (plan,) = builder.plans
    assert (plan.mode, plan.confirmed) == ("FAST_OVERLAY", True)
    assert plan.evidence == "Over langgraph. From wheels: extra 0.1."


async def test_a_requirement_against_the_bases_pin_falls_back_with_the_reason(
    builder: Builder,
) -> None:
    artifact = built(await builder.build("core>=2\n", framework="langgraph"))

    assert (artifact.base, artifact.base_packages) == ("python", "")
    assert await contents(builder, artifact.dependencies) == {"core.py"}
    (plan,) = builder.plans
    assert "langgraph could not be the base" in plan.evidence
    assert "core==1.5" in plan.evidence
    assert "From wheels: core 2.0." in plan.evidence


async def test_a_base_that_the_index_does_not_have_falls_back_with_the_reason(
    builder: Builder,
) -> None:
    artifact = built(await builder.build("", framework="crewai"))

    assert artifact.base == "python"
    assert "crewai could not be the base" in builder.plans[0].evidence
    assert builder.leftovers() == []


@pytest.mark.parametrize("requirements", ["core>=2\n", "core>=2\nlanggraph>=1\n"])
async def test_what_the_source_imports_is_installed_where_its_base_cannot_be_used(
    builder: Builder, index: Index, requirements: str
) -> None:
    make_wheel(index.folder, "langgraph", "1.0")
    text = "import os, langgraph.graph\n"

    artifact = built(await builder.build(requirements, framework="langgraph", text=text))

    assert artifact.base == "python"
    assert await contents(builder, artifact.dependencies) == {"core.py", "langgraph.py"}


async def test_a_framework_that_does_not_fit_the_requirements_is_a_conflict(
    builder: Builder, index: Index
) -> None:
    make_wheel(index.folder, "langgraph", "1.0", requires=["core<2"])

    end = await builder.build("core>=2\n", framework="langgraph", text="import langgraph\n")

    assert (end.how, end.step) == ("failed", "resolve"), end
    assert "No set of versions meets all requirements" in end.detail
    assert "langgraph" in end.detail


async def test_what_is_imported_of_a_base_that_cannot_be_had_must_be_installed(
    builder: Builder,
) -> None:
    end = await builder.build("", framework="crewai", text="import crewai\n")

    assert (end.how, end.step) == ("failed", "resolve"), end
    assert "There is no package 'crewai' in the package index" in end.detail


async def test_a_base_is_made_once_and_shared(builder: Builder, index: Index) -> None:
    _, base = find_framework_base(builder.tools, "langgraph")

    made = await asyncio.gather(*(make_base_layer(builder.tools, base, _ignore) for _ in range(2)))
    index.status = 500
    artifact = built(await builder.build("", framework="langgraph"))

    assert {one.digest for one in made if isinstance(one, Overlay)} == {artifact.base_packages}


async def test_bases_are_listed_with_what_is_made_of_them(builder: Builder) -> None:
    artifact = built(await builder.build("", framework="langgraph"))

    assert {base.name: base.layer for base in await listed(builder.tools)} == {
        "python": "",
        "langgraph": artifact.base_packages,
        "crewai": "",
    }


def test_a_base_that_is_not_there_is_refused_with_those_that_are(builder: Builder) -> None:
    with pytest.raises(NotFound, match=r"'nothing'.*langgraph, crewai"):
        find_framework_base(builder.tools, "nothing")


async def test_an_overlay_goes_with_its_base_in_one_interpreter(builder: Builder) -> None:
    artifact = built(await builder.build("extra\n", framework="langgraph"))
    path = [
        str(await builder.layers.dependencies(digest))
        for digest in (artifact.dependencies, artifact.base_packages)
    ]
    said = imported(builder, path, "import extra, graph; print(graph.VERSION)")

    assert said == "1.0\n"


def imported(builder: Builder, path: list[str], code: str) -> str:
    """What the base's interpreter prints with these layers on its path."""
    return subprocess.run(
        [builder.tools.python.python, "-S", "-B", "-c", code],
        env={"PYTHONPATH": ":".join(path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


async def _ignore(line: str) -> None:
    assert line
