"""A disk that is full while an image is fetched, unpacked or made: nothing is left broken."""

import os
from collections.abc import Iterator

import pytest

from tests.conftest import require
from tests.registries import Content, Registry, layer, registry
from tests.small_disks import on_a_small_disk
from tests.workers.builds import open_directory
from tests.workers.packages import make_wheel

DISK = "size=160m,nr_inodes=4000"
DENSE: dict[str, Content] = {"dense": os.urandom(8 << 20)}
MANY: dict[str, Content] = {f"many/{number}": str(number) for number in range(200)}


@pytest.fixture(scope="module")
def images() -> Iterator[Registry]:
    if os.geteuid() != 0:
        require("root", "only root can give a sandbox a disk of its own")
    with registry() as opened:
        yield opened


@pytest.mark.parametrize(
    ("files", "left", "step"),
    [
        pytest.param(DENSE, ("bytes", 4 << 20), "fetch", id="fetching"),
        pytest.param(DENSE, ("bytes", 12 << 20), "fetch", id="storing"),
        pytest.param(DENSE, ("bytes", 20 << 20), "unpack", id="unpacking"),
        pytest.param(MANY, ("files", 100), "unpack", id="unpacking without files"),
    ],
)
def test_an_image_that_does_not_fit_says_so_and_fits_later(
    images: Registry,
    request: pytest.FixtureRequest,
    files: dict[str, Content],
    left: tuple[str, int],
    step: str,
) -> None:
    name = request.node.callspec.id.replace(" ", "-")
    reference = images.push(f"{name}:1", [layer(files)], Cmd=["x"])

    on_a_small_disk(
        f"""
        from tests.workers.full_disks import build_image
        build_image(disk, {reference!r}, {left!r}, {step!r})
        """,
        DISK,
    )


def test_a_versions_image_that_does_not_fit_says_so_and_fits_later() -> None:
    if os.geteuid() != 0:
        require("root", "only root can give a sandbox a disk of its own")
    with open_directory() as wheels:
        make_wheel(wheels, "small", "1.5")

        on_a_small_disk(
            f"""
            from tests.workers.full_disks import build_version
            build_version(disk, {str(wheels)!r}, ("bytes", {20 << 20}))
            """,
            DISK,
        )
