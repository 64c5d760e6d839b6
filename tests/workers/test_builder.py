"""Builds in real sandboxes, of packages from an index on loopback: what is made, refused, said."""

import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.blobs import FolderBlobs
from domain.builds import BuildEnded
from domain.execution import (
    ConfigurationDefinition,
    Definition,
    SourceDefinition,
    source_digest,
)
from tests.workers.builds import Builder, local, the_driver
from tests.workers.packages import Index, make_wheel, serve
from workers.builder.indexes import find_index


@pytest.fixture
def index(directory: Path) -> Iterator[Index]:
    folder = directory / "index"
    make_wheel(folder, "good", "1.0")
    make_wheel(
        folder, "good", "2.0", requires=["small>=1", "extra1; extra == 'more'"], python=">=3.8"
    )
    make_wheel(folder, "small", "1.5")
    make_wheel(folder, "extra1", "0.1", {"extra1/__init__.py": "", "extra1/data.txt": "data"})
    make_wheel(folder, "wants_old", "1.0", requires=["good<2"])
    make_wheel(folder, "future", "1.0", python=">=3.99")
    make_wheel(folder, "other_abi", "1.0", tag="cp27-cp27m-manylinux1_x86_64")
    make_wheel(folder, "runagents", "1.4.2")
    with serve(Index(folder)) as served:
        yield served


def imported(builder: Builder, layer: Path, code: str) -> str:
    """What the base's interpreter prints with the layer on its path."""
    return subprocess.run(
        [builder.tools.python.python, "-S", "-B", "-c", code],
        env={"PYTHONPATH": str(layer)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def failed(end: BuildEnded, step: str, *words: str) -> None:
    assert (end.how, end.step, end.artifact) == ("failed", step, None), end
    for word in words:
        assert word in end.detail, end.detail
    assert end.hint


async def test_requirements_are_installed_into_a_layer(builder: Builder) -> None:
    end = await builder.build("good>=1\n")
    layer = await builder.layer(end)

    assert end.how == "succeeded"
    assert end.artifact
    assert end.artifact.base == "python"
    assert end.artifact.source == source_digest(
        {"agent.py": await builder.blobs.put(b"print('hello')\n")}
    )
    assert (
        imported(builder, layer, "import good, small; print(good.VERSION, small.VERSION)")
        == "2.0 1.5"
    )
    (plan,) = builder.plans
    assert (plan.mode, plan.confirmed, plan.evidence) == (
        "FAST_OVERLAY",
        True,
        "From wheels: good 2.0, small 1.5.",
    )
    assert plan.lock_digest.startswith("sha256:")
    assert builder.leftovers() == []


async def test_a_layer_is_readable_by_all_and_has_bytecode(builder: Builder) -> None:
    layer = await builder.layer(await builder.build("extra1"))

    paths = {path.relative_to(layer).as_posix(): path for path in layer.rglob("*")}
    assert "extra1/__pycache__/__init__.cpython-" in " ".join(paths)
    assert {oct(p.stat().st_mode & 0o7777) for p in paths.values()} == {"0o644", "0o755"}
    assert not [path for path in paths if path.endswith((".lock", "uv_cache.json"))]
    # Shared with the part that it was put together from, and not with uv's cache.
    assert {path.stat().st_nlink for path in paths.values() if path.is_file()} == {2}


async def test_the_log_says_what_uv_says_while_it_works(builder: Builder) -> None:
    await builder.build("good==1.0\nrunagents>=1\n")

    assert "plan: runagents>=1 is provided by the base environment" in builder.text
    assert "resolve: Resolved 1 package" in builder.text
    assert "install:  + good==1.0" in builder.text
    assert "install: Resolved" not in builder.text  # which each of many packages would say
    assert builder.text.endswith("image: Ready")
    assert {line.stream for line in builder.logged if line.step == "install"} == {
        "stderr",
        "system",
    }


async def test_the_same_packages_are_not_installed_twice(builder: Builder, index: Index) -> None:
    first = await builder.build("good==1.0")
    index.asked.clear()

    second = await builder.build("good == 1.0  # the same, written otherwise\nargosy\n")

    assert second.artifact == first.artifact
    assert index.asked == []
    assert "their layer is used again" in builder.text


async def test_a_layer_that_the_blob_store_has_no_more_is_made_again(
    builder: Builder, directory: Path
) -> None:
    first = await builder.build("good==1.0")
    assert first.artifact
    blobs = FolderBlobs(directory / "blobs")
    await blobs.set_aside([first.artifact.dependencies])
    await blobs.remove([first.artifact.dependencies])

    second = await builder.build("good==1.0")

    assert second.artifact == first.artifact
    assert await blobs.has([first.artifact.dependencies])


async def test_another_machine_uses_the_layer_from_the_blob_store(
    builder: Builder, directory: Path
) -> None:
    end = await builder.build("good==1.0")
    assert end.artifact
    other = Builder(directory / "other", builder.tools.driver, builder.tools.index)
    moved = directory / "other" / "blobs"
    (directory / "blobs").rename(moved)

    layer = await other.layers.dependencies(end.artifact.dependencies)

    assert imported(other, layer, "import good; print(good.VERSION)") == "1.0"


async def test_builds_on_two_machines_make_the_same_layer(
    builder: Builder, directory: Path
) -> None:
    other = Builder(directory / "other", builder.tools.driver, builder.tools.index)

    here, there = await builder.build("good==2.0"), await other.build("good==2.0")

    assert here.artifact == there.artifact


@pytest.mark.parametrize(
    "requirements",
    [
        "runagents>=1.4.2\nargosy[x]==99; python_version > '3'\n",
        "good; python_version < '3'\n",
        "# nothing\n\n",
    ],
)
async def test_what_needs_no_packages_becomes_instant(builder: Builder, requirements: str) -> None:
    end = await builder.build(requirements)

    assert end.how == "succeeded"
    assert end.artifact
    assert end.artifact.dependencies == ""
    assert (builder.plans[0].mode, builder.plans[0].confirmed) == ("INSTANT_RUNTIME", False)
    assert builder.plans[0].lock_digest == ""


async def test_packages_of_the_base_in_the_same_version_are_left_out(
    directory: Path, index: Index
) -> None:
    packages = {"good": "2.0", "small": "1.5"}
    builder = Builder(directory, the_driver(), local(index), packages=packages)

    end = await builder.build("good>=2\nextra1\n")

    assert builder.plans[0].evidence == "From wheels: extra1 0.1."
    assert end.how == "succeeded"


async def test_extras_bring_their_packages(builder: Builder) -> None:
    await builder.build("good[more]; python_version >= '3'")

    assert builder.plans[0].evidence == "From wheels: extra1 0.1, good 2.0, small 1.5."


async def test_a_package_that_does_not_exist_is_named(builder: Builder) -> None:
    end = await builder.build("good\nno-such-thing>=1\n")

    failed(end, "resolve", "line 2", "'no-such-thing'")
    (plan,) = builder.plans
    assert (plan.mode, plan.lock_digest) == ("FAST_OVERLAY", "")
    assert "'no-such-thing'" in plan.evidence
    assert builder.leftovers() == []


async def test_a_version_that_does_not_exist_is_named(builder: Builder) -> None:
    failed(await builder.build("good==99"), "resolve", "no version of good==99")


async def test_requirements_that_contradict_are_explained(builder: Builder) -> None:
    failed(await builder.build("wants_old\ngood>=2\n"), "resolve", "wants-old", "good<2", "good>=2")


@pytest.mark.parametrize(
    ("requirements", "word"),
    [("other_abi", "'other-abi'"), ("future", "Python>=3.99")],
)
async def test_what_cannot_come_from_wheels_is_replanned_and_refused(
    builder: Builder, requirements: str, word: str
) -> None:
    end = await builder.build(requirements)

    failed(end, "plan", word)
    (plan,) = builder.plans
    assert (plan.mode, plan.confirmed) == ("FULL_BUILD", False)


@pytest.mark.parametrize(
    ("definition", "mode"),
    [
        (SourceDefinition(files={"Dockerfile": "sha256:x"}, entry_point="a.py"), "FULL_BUILD"),
        (SourceDefinition(files={}, entry_point="a.py", python="2.7"), "FULL_BUILD"),
        (
            SourceDefinition(files={}, entry_point="a.py", requirements="-r /etc/passwd"),
            "FULL_BUILD",
        ),
        (
            SourceDefinition(files={}, entry_point="a.py", requirements="x @ https://e.org/x.whl"),
            "FULL_BUILD",
        ),
    ],
)
async def test_full_builds_are_planned_and_refused(
    builder: Builder, definition: Definition, mode: str
) -> None:
    end = await builder.build_definition(definition)

    failed(end, "plan", "This server does not")
    assert [plan.mode for plan in builder.plans] == [mode]


async def test_a_build_that_cannot_be_read_is_planned_all_the_same(builder: Builder) -> None:
    end = await builder.build("good ===== 1\n")

    failed(end, "plan", "line 1")
    assert [plan.mode for plan in builder.plans] == ["FAST_OVERLAY"]
    assert "line 1" in builder.plans[0].evidence


async def test_a_configuration_needs_nothing(builder: Builder) -> None:
    end = await builder.build_definition(ConfigurationDefinition())

    assert (end.how, end.artifact) == ("succeeded", None)


async def test_a_line_that_is_no_requirement_is_named(builder: Builder) -> None:
    failed(await builder.build("good\n\nx y z\n"), "plan", "line 3", "x y z")


async def test_a_file_that_is_not_what_the_index_announced_is_refused(
    builder: Builder, index: Index
) -> None:
    index.forged["good-1.0-py3-none-any.whl"] = "0" * 64

    failed(await builder.build("good==1.0"), "install", "Hash mismatch")
    assert list((builder.layers.directory / "layers").iterdir()) == []
    assert builder.leftovers() == []


async def test_hashes_in_the_requirements_are_kept_to(builder: Builder, directory: Path) -> None:
    digest = make_wheel(directory / "elsewhere", "good", "1.0")

    right = await builder.build(f"good==1.0 --hash=sha256:{digest}")
    wrong = await builder.build(f"good==1.0 \\\n  --hash=sha256:{'0' * 64}")

    assert right.how == "succeeded"
    failed(wrong, "resolve", "line 1", "none of the wheels of good 1.0")


async def test_an_index_that_fails_is_named_as_the_cause(builder: Builder, index: Index) -> None:
    index.status = 503
    failed(await builder.build("good"), "resolve", "could not be reached", "503")

    index.status = 401
    failed(await builder.build("good"), "resolve", "refused access")


async def test_an_index_that_is_not_there_is_named_as_the_cause(directory: Path) -> None:
    nowhere = Index(directory)
    nowhere.url = "http://user:secret@127.0.0.1:9/simple"
    builder = Builder(directory, the_driver(), local(nowhere))

    end = await builder.build("good")

    failed(end, "resolve", "could not be reached", "connection refused")
    assert "secret" not in end.detail + builder.text


async def test_a_wheel_cannot_write_outside_its_layer(builder: Builder, index: Index) -> None:
    make_wheel(
        index.folder,
        "escaping",
        "1.0",
        {
            "escaping.py": "",
            "../../evil.py": "",
            "/tmp/evil.py": "",
            "escaping-1.0.data/data/../../../evil.py": "",
            "escaping-1.0.data/scripts/../../evil": "#!python\n",
        },
    )
    with zipfile.ZipFile(index.folder / "escaping-1.0-py3-none-any.whl", "a") as archive:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        tool = zipfile.ZipInfo("tool")
        tool.create_system, tool.external_attr = 3, 0o106755 << 16
        archive.writestr(tool, "")

    end = await builder.build("escaping")
    layer = await builder.layer(end)

    inside = (layer.parent, builder.layers.directory / "uv")
    escaped = [
        path
        for path in builder.layers.directory.parent.rglob("evil*")
        if not any(place in path.parents for place in inside)
    ]
    assert escaped == []
    assert not (layer / "link").is_symlink()
    assert oct((layer / "tool").stat().st_mode & 0o7000) == "0o0"


async def test_broken_code_in_a_package_is_no_reason_to_fail(
    builder: Builder, index: Index
) -> None:
    make_wheel(index.folder, "broken", "1.0", {"broken.py": "def (:\n", "fine.py": ""})

    assert (await builder.build("broken")).how == "succeeded"


async def test_a_folder_of_wheels_can_be_the_index(directory: Path, index: Index) -> None:
    builder = Builder(directory, the_driver(), find_index(str(index.folder), {}))

    end = await builder.build("good")

    assert end.how == "succeeded"
    assert index.asked == []
    failed(await builder.build("no-such-thing"), "resolve", "'no-such-thing'")


async def test_source_that_the_blob_store_lost_is_said(builder: Builder) -> None:
    definition = SourceDefinition(
        files={"agent.py": "sha256:" + "0" * 64}, entry_point="agent.py", requirements="good"
    )

    failed(await builder.build_definition(definition), "store", "agent.py")
