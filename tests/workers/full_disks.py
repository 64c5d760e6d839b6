"""Builds on a disk that has too little room, and then enough; run by tests on a small disk."""

import asyncio
import hashlib
import os
from pathlib import Path

import msgspec

from adapters.settings import Settings
from domain.builds import BuildEnded
from domain.execution import Definition, ImageDefinition, SourceDefinition
from tests.workers.builds import Builder, open_directory, the_driver
from workers.builder.indexes import find_index

SOURCE = b"import small\n"


def build_image(disk: Path, reference: str, left: tuple[str, int], step: str) -> None:
    """Build an image. left: how much room there is at first. step: where that is too little."""
    host = reference.partition("/")[0]
    _build(disk, ImageDefinition(image=reference), left, step, host=host)


def build_version(disk: Path, wheels: str, left: tuple[str, int]) -> None:
    """Build a version from source that needs a wheel; its image does not fit at first."""
    files = {"agent.py": f"sha256:{hashlib.sha256(SOURCE).hexdigest()}"}
    definition = SourceDefinition(files=files, entry_point="agent.py", requirements="small")
    _build(disk, definition, left, "image", wheels=wheels)


def _build(
    disk: Path,
    definition: Definition,
    left: tuple[str, int],
    step: str,
    *,
    host: str = "",
    wheels: str = "",
) -> None:
    builder = _a_builder(disk, host, wheels)
    ballast = _Ballast(disk)
    ballast.leave(*left)

    for _ in range(2):  # a retry finds what the first one left
        end = asyncio.run(builder.build_definition(definition))
        assert (end.how, end.step) == ("failed", step), end
        assert "No space left" in end.detail, end
        assert "Free some space" in end.hint, end
        _nothing_is_half_made(builder, disk)

    ballast.remove()
    end = asyncio.run(builder.build_definition(definition))
    assert end.how == "succeeded", end
    _nothing_is_half_made(builder, disk)
    with open_directory() as elsewhere:
        other = _a_builder(elsewhere, host, wheels)
        expected = asyncio.run(other.build_definition(definition))
        assert end.artifact == expected.artifact
        assert _bytes_of(builder, end) == _bytes_of(other, expected)


def _a_builder(directory: Path, host: str, wheels: str) -> Builder:
    made = Builder(directory, the_driver(), find_index(wheels, {}), anew=True)
    settings = Settings(outbound_allow=host, insecure_registries=host)
    made.tools = msgspec.structs.replace(made.tools, settings=settings)
    asyncio.run(made.blobs.put(SOURCE))
    return made


class _Ballast:
    """What fills a disk, but for so many bytes, or so many files."""

    def __init__(self, disk: Path) -> None:
        self._folder = disk / "ballast"
        self._folder.mkdir()

    def leave(self, what: str, left: int) -> None:
        free = os.statvfs(self._folder)
        if what == "bytes":
            with (self._folder / "bytes").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - left)
        else:
            for number in range(free.f_favail - left):
                (self._folder / str(number)).touch()

    def remove(self) -> None:
        for path in self._folder.iterdir():
            path.unlink()


def _nothing_is_half_made(builder: Builder, disk: Path) -> None:
    assert builder.leftovers() == []
    for path in (disk / "blobs").rglob("*"):
        if path.is_file():
            hexdigest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert f"{path.parent.name}{path.name}" == hexdigest, path


def _bytes_of(builder: Builder, end: BuildEnded) -> dict[str, bytes]:
    """Return what is in the image's layers, and in its directory if it was unpacked here."""
    assert end.artifact
    assert end.artifact.image
    image = end.artifact.image
    found = {digest: asyncio.run(builder.blobs.get(digest)) for digest in image.layers}
    if not end.artifact.base:
        root = asyncio.run(builder.layers.image(image))
        files = (path for path in root.rglob("*") if path.is_file())
        found |= {str(path.relative_to(root)): path.read_bytes() for path in files}
    return found
