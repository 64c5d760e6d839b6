"""Builds of real packages from the machine's package index."""

import os
import urllib.request
from collections.abc import Iterator

import pytest

from tests.conftest import require
from tests.workers.builds import Builder, open_directory, the_driver
from workers.builder.indexes import find_index

INDEX = os.environ.get("UV_DEFAULT_INDEX", "https://pypi.org/simple").rstrip("/")


@pytest.fixture(scope="module")
def network() -> None:
    try:
        with urllib.request.urlopen(f"{INDEX}/idna/", timeout=10):
            pass
    except OSError as error:
        require("network", f"{INDEX} cannot be reached: {error}")


@pytest.fixture
def builder(network: None) -> Iterator[Builder]:
    with open_directory() as directory:
        yield Builder(directory, the_driver(), find_index("", os.environ))


async def test_real_packages_are_installed(builder: Builder) -> None:
    end = await builder.build("idna==3.10\nrunagents>=1.4.2\n")
    layer = await builder.layer(end)

    assert builder.plans[0].evidence == "From wheels: idna 3.10."
    assert (layer / "idna" / "__init__.py").is_file()


async def test_a_package_nobody_made_is_named(builder: Builder) -> None:
    end = await builder.build("idna\nargosy-no-such-package-7f3a\n")

    assert (end.how, end.step) == ("failed", "resolve")
    assert "line 2" in end.detail
    assert "'argosy-no-such-package-7f3a'" in end.detail


async def test_a_package_without_wheels_is_built_from_source(builder: Builder) -> None:
    end = await builder.build("docopt==0.6.2\n")
    layer = await builder.layer(end)

    assert builder.plans[0].mode == "FULL_BUILD"
    assert builder.plans[0].evidence == "Built from source: docopt 0.6.2."
    assert (layer / "docopt.py").is_file()
