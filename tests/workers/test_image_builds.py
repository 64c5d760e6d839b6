"""What becomes of images that cannot be had, must not be had, or are not what they should be."""

import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.scratch import remove_tree
from adapters.settings import Settings
from domain.builds import BuildEnded
from domain.errors import Invalid
from domain.execution import ImageDefinition
from domain.image_references import read_reference
from tests.registries import (
    ARCHITECTURE,
    OTHER_ARCHITECTURE,
    Content,
    Registry,
    image,
    layer,
    link,
    registry,
)
from tests.workers.builds import LIMITS, Builder, the_driver
from workers.archives import LayerRefused
from workers.builder.indexes import find_index
from workers.builder.tools import Credential
from workers.images.unpacking import ROOT, unpack_image

HELLO = layer({"hello": "hello"})


@pytest.fixture(scope="module")
def images() -> Iterator[Registry]:
    """A registry that anybody may read."""
    with registry() as opened:
        yield opened


@pytest.fixture
def builder(images: Registry) -> Iterator[Builder]:
    """A builder whose operator knows the registry."""
    directory = Path(tempfile.mkdtemp(prefix="argosy-images-"))
    made = Builder(directory, the_driver(), find_index("", {}))
    knows(made, images.host)
    yield made
    assert made.leftovers() == []
    remove_tree(directory)


def knows(builder: Builder, host: str, **changes: object) -> None:
    """Have the operator allow a registry without TLS."""
    settings = Settings(outbound_allow=host, insecure_registries=host)
    builder.tools = msgspec.structs.replace(builder.tools, settings=settings, **changes)


async def build(builder: Builder, image: str) -> BuildEnded:
    return await builder.build_definition(ImageDefinition(image=image))


def failed(end: BuildEnded, step: str, *words: str) -> None:
    assert (end.how, end.step) == ("failed", step), end
    assert end.hint
    for word in words:
        assert word in end.detail


async def test_an_image_that_is_not_there(builder: Builder, images: Registry) -> None:
    failed(
        await build(builder, f"{images.host}/nothing:1"),
        "resolve",
        "There is no image",
        "nothing:1",
    )


async def test_an_image_for_another_machine(builder: Builder, images: Registry) -> None:
    name = images.push("other:1", [HELLO], Cmd=["x"], architecture=OTHER_ARCHITECTURE)

    failed(await build(builder, name), "resolve", f"is for linux/{OTHER_ARCHITECTURE}")


async def test_an_index_is_resolved_to_the_image_of_this_machine(
    builder: Builder, images: Registry, tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    named: list[dict[str, Any]] = []
    for number, architecture in enumerate((OTHER_ARCHITECTURE, ARCHITECTURE)):
        made = image(tmp_path / str(number), [HELLO], architecture=architecture, Cmd=["x"])
        (entry,) = json.loads((made / "index.json").read_text())["manifests"]
        named.append({**entry, "platform": {"os": "linux", "architecture": architecture}})
        for blob in (made / "blobs/sha256").iterdir():
            (folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
            (folder / "blobs/sha256" / blob.name).write_bytes(blob.read_bytes())
    index: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": named,
    }
    images.put_index(folder, "both:1", json.dumps(index).encode())

    end = await build(builder, f"{images.host}/both:1")

    assert end.how == "succeeded", end
    assert end.artifact is not None
    assert end.artifact.image is not None
    assert end.artifact.image.manifest == named[1]["digest"]


async def test_a_registry_that_is_down_is_tried_again(builder: Builder) -> None:
    knows(builder, "127.0.0.1:1")

    end = await build(builder, "127.0.0.1:1/agent:1")

    failed(end, "resolve", "could not be reached", "connection refused")
    assert end.steps[-1].milliseconds > 1_000  # 0.5 s and 1 s between three tries


async def test_a_tenant_reaches_nothing_inside_through_an_image(
    builder: Builder, images: Registry
) -> None:
    builder.tools = msgspec.structs.replace(
        builder.tools, settings=Settings(insecure_registries=images.host)
    )

    failed(await build(builder, f"{images.host}/x:1"), "resolve", "not on the public internet")


async def test_a_registry_without_tls_is_asked_only_where_the_operator_says_so(
    builder: Builder, images: Registry
) -> None:
    builder.tools = msgspec.structs.replace(
        builder.tools, settings=Settings(outbound_allow=images.host)
    )

    failed(await build(builder, f"{images.host}/x:1"), "resolve", "TLS")


async def test_a_registry_that_wants_a_login(builder: Builder) -> None:
    with registry(("acme", "secret-word")) as private:
        name = private.push("agent:1", [HELLO], Cmd=["x"])
        knows(builder, private.host)
        nobody = await build(builder, name)

        async def login(workspace_id: str, host: str) -> Credential | None:
            assert (workspace_id, host) == ("workspace-1", private.host)
            return Credential("acme", password)

        password = "wrong"
        knows(builder, private.host, login=login)
        refused = await build(builder, name)
        password = "secret-word"
        end = await build(builder, name)

    failed(nobody, "resolve", "nobody who has not signed in")
    failed(refused, "resolve", "refused what this workspace signs in with")
    assert end.how == "succeeded", end
    assert "secret-word" not in builder.text


async def test_an_image_that_is_too_large(builder: Builder, images: Registry) -> None:
    knows(builder, images.host, limits=msgspec.structs.replace(LIMITS, disk_mb=1))
    sparse = images.push("zeros:1", [layer({"zeros": bytes(2 << 20)})], Cmd=["x"])
    dense = images.push("dense:1", [layer({"dense": os.urandom(2 << 20)})], Cmd=["x"])

    failed(await build(builder, sparse), "unpack", "more than 1 MB")
    failed(await build(builder, dense), "fetch", "larger than the 1 MB")


async def test_an_image_that_starts_nothing(builder: Builder, images: Registry) -> None:
    failed(
        await build(builder, images.push("idle:1", [HELLO])),
        "resolve",
        "neither ENTRYPOINT nor CMD",
    )


async def test_what_was_fetched_is_not_fetched_again(builder: Builder, images: Registry) -> None:
    name = images.push("twice:1", [HELLO], Cmd=["x"])

    first, second = await build(builder, name), await build(builder, name)

    assert first.artifact == second.artifact
    cached = {step.name: step.cached for step in second.steps}
    assert cached["fetch"]


# -- unpacking


def unpacked(folder: Path, *layers: Mapping[str, Content]) -> Path:
    """Unpack layers; returns the root."""
    packed: list[Path] = []
    for number, files in enumerate(layers):
        packed.append(folder / f"layer{number}")
        packed[-1].write_bytes(layer(files))
    tree = folder / "tree"
    tree.mkdir()
    unpack_image(b"{}", packed, tree, max_mb=16)
    return tree / ROOT


def names(root: Path) -> set[str]:
    return {
        str(path.relative_to(root)) for path in root.rglob("*") if path.parent.name != "etc"
    } - {"etc"}


def test_whiteouts_take_away_what_is_below_and_nothing_else(tmp_path: Path) -> None:
    root = unpacked(
        tmp_path,
        {"a/old": "", "a/kept": "", "b/old": "", "b/deep/old": ""},
        {"a/.wh.old": "", "b/new": "", "b/.wh..wh..opq": "", "b/deep/new": ""},
    )

    assert names(root) == {"a", "a/kept", "b", "b/new", "b/deep", "b/deep/new"}


def test_links_lead_nowhere_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("as it was")
    root = unpacked(
        tmp_path,
        {"up": link("up", "../../.."), "abs": link("abs", str(outside)), "loop": link("loop", "a")},
        {"up/x": "in", "abs/victim": "in", "abs/.wh.victim2": ""},
    )

    assert (outside / "victim").read_text() == "as it was"
    assert list(outside.iterdir()) == [outside / "victim"]
    assert (root / "x").read_text() == "in"
    assert (root / str(outside).removeprefix("/") / "victim").read_text() == "in"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"../out": "x"}, "not a path within"),
        ({"a/../../out": "x"}, "not a path within"),
        ({"h": link("h", "../../../etc/passwd", tarfile.LNKTYPE)}, "not a path within"),
        ({"h": link("h", "etc/absent", tarfile.LNKTYPE)}, "a file that is not there"),
        ({"f": "", "f/below": ""}, "below a file"),
        ({"a": link("a", "b"), "b": link("b", "a"), "a/x": ""}, "too many links"),
        ({"n" * 300: ""}, "too long a name"),
        ({".wh...": ""}, "hides nothing"),
        ({"big": bytes(17 << 20)}, "more than 16 MB"),
    ],
)
def test_an_archive_that_is_not_to_be_trusted_is_refused(
    tmp_path: Path, files: dict[str, Content], words: str
) -> None:
    with pytest.raises(LayerRefused, match=words):
        unpacked(tmp_path, files)
    assert not (tmp_path / "out").exists()


def test_devices_are_left_out_and_modes_forgotten(tmp_path: Path) -> None:
    setuid = tarfile.TarInfo("bin/su")
    setuid.mode = 0o4755
    secret = tarfile.TarInfo("etc/shadow")
    secret.mode = 0o000
    root = unpacked(
        tmp_path,
        {
            "dev": link("dev/null", "", tarfile.CHRTYPE),
            "pipe": link("pipe", "", tarfile.FIFOTYPE),
            "su": setuid,
            "shadow": secret,
            "hard": link("hard", "bin/su", tarfile.LNKTYPE),
        },
    )

    assert not (root / "dev/null").exists()
    assert not (root / "pipe").exists()
    assert (root / "bin/su").stat().st_mode & 0o7777 == 0o755
    assert (root / "etc/shadow").stat().st_mode & 0o7777 == 0o644
    assert (root / "hard").stat().st_ino == (root / "bin/su").stat().st_ino


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b", b"no archive" * 100, b"\x28\xb5\x2f\xfdzstd"])
def test_what_is_no_archive_is_refused_or_empty(tmp_path: Path, data: bytes) -> None:
    packed = tmp_path / "layer"
    packed.write_bytes(data)
    tree = tmp_path / "tree"
    tree.mkdir()

    with pytest.raises(LayerRefused):
        unpack_image(b"{}", [packed], tree)


# -- references


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("echo", "docker.io/library/echo:latest"),
        ("acme/echo:1.2", "docker.io/acme/echo:1.2"),
        ("ghcr.io/acme/echo", "ghcr.io/acme/echo:latest"),
        ("localhost/echo:1", "localhost/echo:1"),
        ("127.0.0.1:5000/a/b_c/d-e:x", "127.0.0.1:5000/a/b_c/d-e:x"),
        (f"a.example/x@sha256:{'0' * 64}", f"a.example/x@sha256:{'0' * 64}"),
    ],
)
def test_a_reference_is_read_as_engines_read_it(text: str, meant: str) -> None:
    assert str(read_reference(text)) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ECHO",
        "a b",
        "https://a.example/x",
        "x:",
        "x@sha256:0",
        "../x",
        "a//b",
        "x\n",
        "u:p@h/x",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="is not an image"):
        read_reference(text)
