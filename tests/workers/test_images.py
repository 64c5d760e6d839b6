"""Versions as container images: what a build stores of them, and what is in it."""

import gzip
import io
import json
import os
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domain.builds import BuildEnded
from domain.execution import Image, SourceDefinition, digest_of
from tests.workers.builds import Builder, local, open_directory, the_driver
from tests.workers.packages import Index, make_wheel, serve
from workers.builder.oci.elf import MAGIC, closure, find_library, read_needs, usual_folders
from workers.builder.oci.systems import (
    LEFT_OUT,
    SHELL,
    library_members,
    system_key,
    system_members,
)
from workers.builder.oci.tars import write_layer
from workers.sandboxes.bases import Base, find_base, find_bases

BASE = find_base()
SYSTEM = {Path(info.name).name for info, _ in system_members(BASE)}
# Some of a machine's libraries that the interpreter has no use for.
LIBRARIES = [
    path
    for folder in usual_folders()
    for path in sorted(Path(folder).glob("lib*.so.*"))
    if path.is_file() and path.name not in SYSTEM
]


def an_elf(*needed: str, runpath: str = "") -> bytes:
    """A library that does nothing, and needs these."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in (*needed, runpath))
    entries, start = b"", 1
    for name in needed:
        entries += struct.pack("<qQ", 1, start)
        start += len(name) + 1
    entries += struct.pack("<qQ", 29, start) if runpath else b""
    table = 64 + 2 * 56
    entries += struct.pack("<qQ", 5, table + len(entries) + 32) + struct.pack("<qQ", 0, 0)
    size = table + len(entries) + len(strings)
    header = struct.pack("<16sHHIQQQIHHHHHH", MAGIC, 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, size, size, 4096)
    dynamic = struct.pack("<IIQQQQQQ", 2, 4, table, table, 0, len(entries), len(entries), 8)
    return header + load + dynamic + entries + strings


@pytest.fixture
def builder(directory: Path) -> Iterator[Builder]:
    folder = directory / "index"
    make_wheel(folder, "small", "1.5")
    with serve(Index(folder)) as index:
        yield Builder(directory, the_driver(), local(index))


def image_of(end: BuildEnded) -> Image:
    assert end.artifact, end
    assert end.artifact.image
    return end.artifact.image


async def document(builder: Builder, digest: str) -> Any:
    return json.loads(await builder.blobs.get(digest))


async def members(builder: Builder, digest: str) -> dict[str, tarfile.TarInfo]:
    data = await builder.blobs.get(digest)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        return {each.name: each for each in archive}


async def test_a_build_makes_an_image_of_layers_that_are_stored(builder: Builder) -> None:
    end = await builder.build("small")
    image = image_of(end)

    manifest = await document(builder, image.manifest)
    config = await document(builder, image.config)

    assert [each["digest"] for each in manifest["layers"]] == image.layers
    assert manifest["config"]["digest"] == image.config
    for each in (manifest["config"], *manifest["layers"]):
        assert await builder.blobs.size(each["digest"]) == each["size"]
    archives = [gzip.decompress(await builder.blobs.get(digest)) for digest in image.layers]
    assert config["rootfs"]["diff_ids"] == [digest_of(data) for data in archives]
    assert config["config"]["User"] == "1000:1000"
    assert config["config"]["ExposedPorts"] == {"8080/tcp": {}}
    assert "USER_ENTRY_POINT=agent.py" in config["config"]["Env"]
    assert "PATH=/opt/dependencies/bin:/usr/local/bin:/usr/bin:/bin" in config["config"]["Env"]
    names = [name for digest in image.layers for name in await members(builder, digest)]
    for name in ("app/agent.py", "opt/dependencies/small.py", "opt/argosy/argosy/_server.py"):
        assert name in names
    assert BASE.python.removeprefix("/") in names


async def test_the_same_version_is_the_same_image(builder: Builder, directory: Path) -> None:
    first = image_of(await builder.build("small"))
    again = await builder.build("small")
    driver, index = builder.tools.driver, builder.tools.index
    elsewhere = Builder(directory / "elsewhere", driver, index, anew=True)

    assert image_of(again) == first
    assert [step.cached for step in again.steps if step.name == "image"] == [True]
    assert image_of(await elsewhere.build("small")) == first


async def test_another_source_changes_its_own_layer_alone(builder: Builder) -> None:
    first = image_of(await builder.build("small"))
    source = await builder.blobs.put(b"print('other')\n")
    files = {"agent.py": source, "deep/er/notes.md": source}
    other = SourceDefinition(files=files, entry_point="agent.py", requirements="small")

    second = image_of(await builder.build_definition(other))

    assert second.layers[:-1] == first.layers[:-1]
    assert second.layers[-1] != first.layers[-1]
    names = list(await members(builder, second.layers[-1]))
    assert names == ["app", "app/agent.py", "app/deep", "app/deep/er", "app/deep/er/notes.md"]


async def test_a_layer_that_was_lost_is_made_again(builder: Builder) -> None:
    image = image_of(await builder.build("small"))
    for digest in image.layers:
        await builder.blobs.set_aside([digest])
        await builder.blobs.remove([digest])
    assert await builder.blobs.has(image.layers) == set()

    again = image_of(await builder.build("small"))

    assert again == image
    assert await builder.blobs.has(image.layers) == set(image.layers)
    assert builder.leftovers() == []


async def test_a_remembered_layer_that_is_torn_is_made_again(builder: Builder) -> None:
    image = image_of(await builder.build("small"))
    for path in (builder.layers.directory / "images").iterdir():
        path.write_bytes(path.read_bytes()[:20])

    assert image_of(await builder.build("small")) == image


def test_the_system_has_nothing_of_the_machines_own() -> None:
    found = {info.name: info for info, _ in system_members(BASE)}

    etc = {name for name, info in found.items() if name.startswith("etc/") and info.isreg()}
    assert etc <= {path.removeprefix("/") for path in BASE.files} | {
        "etc/ssl/certs/ca-certificates.crt"
    }
    roots = {name.split("/")[0] for name in found}
    prefix = Path(BASE.python).parts[1]
    allowed = {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys"}
    assert roots <= allowed | {"tmp", "usr", prefix}
    for name, info in found.items():
        assert info.isdir() or info.isreg() or info.issym(), name
        assert (info.uid, info.gid, info.uname, info.gname) == (0, 0, "", "")
        assert info.issym() or name == "tmp" or info.mode in (0o755, 0o644), name
        assert ".." not in name.split("/")
        assert not LEFT_OUT & set(name.split("/")), name


def test_every_folder_of_the_system_comes_before_what_is_in_it() -> None:
    seen = {"."}
    for info, _ in system_members(BASE):
        assert str(Path(info.name).parent) in seen, info.name
        seen.add(info.name)


def test_every_link_of_the_system_leads_somewhere_inside() -> None:
    found = {info.name: info for info, _ in system_members(BASE)}
    tops = {link.path.removeprefix("/") for link in BASE.symlinks}

    def resolved(name: str) -> str:
        first, _, rest = name.partition("/")
        return f"{found[first].linkname}/{rest}" if first in tops and rest else name

    for name, info in found.items():
        if info.issym() and name not in tops:
            target = os.path.normpath(Path("/", name).parent / info.linkname)
            assert resolved(target.removeprefix("/")) in found, (name, info.linkname)


@pytest.mark.parametrize("base", find_bases(), ids=lambda base: base.version)
def test_every_python_of_this_machine_starts_from_its_layer(base: Base) -> None:
    the_driver()
    with open_directory() as root:
        with (root / "layer").open("w+b") as file:
            write_layer(system_members(base), file)
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:gz") as archive:
                archive.extractall(root / "system", filter="fully_trusted")
        code = "import ctypes, decimal, hashlib, http.server, sqlite3, ssl, zoneinfo; print('here')"
        started = subprocess.run(
            ["bwrap", "--bind", root / "system", "/", base.python, "-I", "-S", "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={},
        )

    assert started.stdout == "here\n", started.stderr


def test_the_key_of_the_system_stays_while_nothing_is_updated() -> None:
    assert system_key(BASE) == system_key(BASE)


@pytest.mark.parametrize("program", [Path(BASE.python), SHELL])
def test_the_closure_is_what_the_loader_would_load(program: Path) -> None:
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    loaded = [line.split("=>")[-1].split()[0] for line in told.splitlines() if "/" in line]

    found = {path.resolve() for path in closure([program])}

    assert {Path(each).resolve() for each in loaded} <= found


def test_libraries_that_packages_need_are_taken_from_where_libraries_are(tmp_path: Path) -> None:
    needed = next(path for path in LIBRARIES if find_library(path.name))
    linked = tmp_path / "package" / "linked.so"
    linked.parent.mkdir()
    linked.write_bytes(an_elf(needed.name, "../../../etc/shadow", "no-such.so", "own.so"))
    (tmp_path / "package" / "own.so").write_bytes(an_elf(runpath="/etc"))
    (tmp_path / "package" / "stealing.so").write_bytes(an_elf("hostname", runpath="/etc"))

    found = {info.name for info, _ in library_members(BASE, tmp_path) if not info.isdir()}

    files = {name.rpartition("/")[2] for name in found}
    assert needed.name in files
    assert not files & {"shadow", "hostname", "own.so", "no-such.so", "libc.so.6"}


def test_what_is_no_program_needs_nothing(tmp_path: Path) -> None:
    text, damaged, empty = tmp_path / "text", tmp_path / "damaged", tmp_path / "empty"
    text.write_text("#!/bin/sh\n")
    empty.touch()
    data = bytearray(SHELL.read_bytes())
    data[32:40] = b"\xff" * 8
    damaged.write_bytes(data)

    for path in (text, damaged, empty):
        assert read_needs(path).libraries == ()
    for end in (5, 20, 64, 200, 1000):
        damaged.write_bytes(SHELL.read_bytes()[:end])
        read_needs(damaged)
