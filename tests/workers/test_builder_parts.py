"""Packages are installed once, each by itself, and layers are put together from them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.builds import Builder, local, open_directory, the_driver
from tests.workers.packages import Index, make_wheel, serve


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    make_wheel(tmp_path, "good", "1.0")
    make_wheel(tmp_path, "extra1", "0.1")
    with serve(Index(tmp_path)) as served:
        yield served


@pytest.fixture
def builder(index: Index) -> Iterator[Builder]:
    with open_directory() as directory:
        yield Builder(directory, the_driver(), local(index))


async def test_only_what_was_never_installed_is_installed(builder: Builder, index: Index) -> None:
    await builder.build("good==1.0")
    index.asked.clear()

    end = await builder.build("good==1.0\nextra1\n")

    layer = await builder.layer(end)
    assert {"good", "extra1"} <= {path.name.partition(".")[0] for path in layer.iterdir()}
    assert "install: 1 of 2 packages were installed before" in builder.text
    assert "install:  + extra1==0.1" in builder.text
    assert "install:  + good" not in builder.text
    assert not [path for path in index.asked if path == "/files/good-1.0-py3-none-any.whl"]


async def test_packages_with_files_of_one_name_are_installed_together(
    builder: Builder, index: Index
) -> None:
    for name in ("first", "second"):
        make_wheel(index.folder, name, "1.0", {f"{name}.py": "", "tests/__init__.py": ""})

    layer = await builder.layer(await builder.build("first\nsecond\n"))

    assert {"first.py", "second.py", "tests"} <= {path.name for path in layer.iterdir()}
    assert builder.leftovers() == []


async def test_a_part_that_was_trimmed_is_installed_again(builder: Builder) -> None:
    await builder.build("good==1.0")
    for layer in (builder.layers.directory / "layers").iterdir():
        shutil.rmtree(layer)

    end = await builder.build("extra1\ngood==1.0\n")

    assert end.how == "succeeded"
    assert "install:  + good==1.0" in builder.text


async def test_layers_of_the_same_packages_share_the_disk(builder: Builder) -> None:
    first = await builder.layer(await builder.build("good==1.0"))
    second = await builder.layer(await builder.build("good==1.0\nextra1\n"))

    assert first != second
    assert (first / "good.py").samefile(second / "good.py")
