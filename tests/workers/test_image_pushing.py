"""Images pushed to a real registry: whole or not at all, once, and without a word of the login."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.settings import Settings
from domain.builds import BuildEnded
from domain.errors import Invalid
from domain.execution import SourceDefinition
from tests.registries import Registry, registry
from tests.workers.builds import REQUEST, Builder, open_directory, the_driver
from tests.workers.packages import make_wheel
from workers.builder.indexes import find_index
from workers.images.pushing import TRIES, check_registry, push_image, pushed_to

LOGIN = ("argosy", "sesame-word")
SECONDS = 60.0

CHILD = """
import asyncio, sys
from pathlib import Path
from tests.workers.test_image_pushing import builder_of

builder = builder_of(Path(sys.argv[1]), sys.argv[2])
print(asyncio.run(builder.build("good")).how, flush=True)
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    with open_directory() as path:
        make_wheel(path / "index", "good", "1.0")
        yield path


@pytest.fixture
def images() -> Iterator[Registry]:
    with registry() as opened:
        yield opened


@pytest.fixture
def builder(directory: Path, images: Registry) -> Builder:
    return builder_of(directory, images.host)


def builder_of(directory: Path, host: str, **settings: Any) -> Builder:
    """A builder whose operator has a registry without TLS."""
    made = Builder(directory, the_driver(), find_index(str(directory / "index"), {}))
    known = Settings(
        registry=f"{host}/argosy", outbound_allow=host, insecure_registries=host, **settings
    )

    async def slug(workspace_id: str) -> str:
        assert workspace_id == "workspace-1"
        return "acme"

    made.tools = msgspec.structs.replace(made.tools, settings=known, slug=slug)
    return made


def uri_of(end: BuildEnded) -> str:
    assert end.artifact, end
    return end.artifact.image_uri


def inspected(uri: str, *options: str) -> dict[str, Any]:
    """What skopeo says of an image."""
    argv = ["skopeo", "inspect", "--tls-verify=false", *options, f"docker://{uri}"]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, timeout=SECONDS).stdout)


def copied(uri: str, into: Path) -> set[str]:
    """Pull an image with skopeo; returns its blobs."""
    argv = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{uri}", f"oci:{into}:1"]
    subprocess.run(argv, check=True, timeout=SECONDS)
    return {path.name for path in (into / "blobs/sha256").iterdir()}


def failed(end: BuildEnded, *words: str) -> None:
    assert (end.how, end.step, end.artifact) == ("failed", "push", None), end
    for word in words:
        assert word in end.detail + end.hint, end


async def test_what_is_built_can_be_pulled_by_its_digest(
    builder: Builder, images: Registry, tmp_path: Path
) -> None:
    end = await builder.build("good")

    assert end.artifact is not None
    assert end.artifact.image is not None
    manifest = end.artifact.image.manifest
    assert uri_of(end) == f"{images.host}/argosy/acme/echo@{manifest}"
    assert inspected(uri_of(end))["Digest"] == manifest
    names = copied(uri_of(end), tmp_path / "copy")
    assert {digest.removeprefix("sha256:") for digest in end.artifact.image.layers} < names
    assert [step.name for step in end.steps][-2:] == ["image", "push"]
    assert builder.leftovers() == []


async def test_what_the_registry_has_is_not_sent_again(builder: Builder) -> None:
    first = await builder.build("good")
    assert "was there" not in builder.text
    second = await builder.build("good")
    pushed = [line.line for line in builder.logged if line.step == "push"]

    assert uri_of(second) == uri_of(first)
    assert len([line for line in pushed if line.endswith("was there")]) == 5


async def test_layers_of_another_agent_are_mounted(builder: Builder) -> None:
    await builder.build("good")
    source = await builder.blobs.put(b"print('other')\n")
    definition = SourceDefinition(
        files={"agent.py": source}, entry_point="agent.py", requirements="good"
    )

    other = msgspec.structs.replace(REQUEST, agent_name="other")
    end = await builder.build_definition(definition, other)

    assert uri_of(end).partition("@")[0].endswith("/argosy/acme/other")
    assert builder.text.count("was in another repository") == 3
    assert inspected(uri_of(end))["Digest"] == uri_of(end).partition("@")[2]


async def test_a_registry_with_a_login(directory: Path) -> None:
    with registry(LOGIN) as private:
        nobody = builder_of(directory, private.host)
        refused = await nobody.build("good")
        file = directory / "login"
        file.write_text("argosy\nwrong-word\n")
        builder = builder_of(directory, private.host, registry_login_file=file)
        wrong = await builder.build("good")
        file.write_text("\n".join(LOGIN) + "\n")
        end = await builder.build("good")
        seen = inspected(uri_of(end), "--creds", ":".join(LOGIN))

    for each in (refused, wrong):
        failed(each, f"The registry {private.host} does not let Argosy push", "LOGIN_FILE")
    assert seen["Digest"] == uri_of(end).partition("@")[2]
    said = builder.text + nobody.text + repr((refused, wrong, end, builder.tools))
    assert "sesame-word" not in said
    assert "wrong-word" not in said


async def test_a_login_that_cannot_be_read_is_said(directory: Path, images: Registry) -> None:
    file = directory / "login"
    builder = builder_of(directory, images.host, registry_login_file=file)
    failed(await builder.build("good"), "ARGOSY_REGISTRY_LOGIN_FILE", "No such file")

    file.write_text("only-one-word\n")
    end = await builder.build("good")
    failed(end, "must have a user name and a password")
    assert "only-one-word" not in end.detail


async def test_a_registry_that_is_down_is_asked_again_and_then_named(
    builder: Builder, images: Registry
) -> None:
    images.stop()

    end = await builder.build("good")

    failed(end, images.host, "connection refused", "ARGOSY_REGISTRY")
    assert builder.text.count("is asked again in") == TRIES - 1
    assert end.steps[-1].milliseconds > 7_000  # 0.5 s, 1 s, 2 s and 4 s
    assert builder.leftovers() == []


async def test_a_registry_that_comes_back_meanwhile_is_pushed_to(
    builder: Builder, images: Registry
) -> None:
    end = await builder.build("good")
    assert end.artifact is not None
    assert end.artifact.image is not None
    images.stop()
    shutil.rmtree(images.folder / "store")
    said: list[str] = []

    async def say(line: str) -> None:
        said.append(line)
        if len(said) == 1:
            images.start()

    place = pushed_to(builder.tools.settings, "acme", "echo", "1")
    uri = await push_image(builder.tools, place, end.artifact.image, say)

    assert "is asked again" in said[0]
    assert uri == uri_of(end)
    assert inspected(uri_of(end))["Digest"] == uri_of(end).partition("@")[2]


async def test_a_registry_inside_is_pushed_to_only_where_it_is_allowed(
    builder: Builder, images: Registry
) -> None:
    settings = builder.tools.settings
    changed = msgspec.structs.replace(settings, outbound_allow="")
    builder.tools = msgspec.structs.replace(builder.tools, settings=changed)
    failed(await builder.build("good"), "not on the public internet", "ARGOSY_OUTBOUND_ALLOW")


def test_a_builder_killed_while_it_pushes_leaves_nothing_that_is_served(
    directory: Path, images: Registry
) -> None:
    # given: the system's layer is made, so that there is something to send for a while
    other = builder_of(directory, images.host)
    assert asyncio.run(other.build("good")).how == "succeeded"
    shutil.rmtree(images.folder / "store")
    shutil.rmtree(directory / "cache/pushed")
    uploads = "store/docker/registry/v2/repositories/argosy/acme/echo/_uploads/*/data"

    # when
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(directory), images.host],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    try:
        while not list(images.folder.glob(uploads)):
            assert child.poll() is None, "it has ended before it was seen to push"
            time.sleep(0.002)
    finally:
        child.kill()
        child.communicate()

    # then
    tags = f"http://{images.host}/v2/argosy/acme/echo/tags/list"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(tags)
    end = asyncio.run(builder_of(directory, images.host).build("good"))
    assert inspected(uri_of(end))["Digest"] == uri_of(end).partition("@")[2]


@pytest.mark.parametrize(
    "registry",
    ["argosy", "https://registry.example", "registry.example/A", "Registry.example", "a b"],
)
def test_a_setting_that_is_no_registry_is_refused(registry: str) -> None:
    with pytest.raises(Invalid, match="ARGOSY_REGISTRY"):
        check_registry(Settings(registry=registry))


def test_a_login_without_a_registry_is_refused() -> None:
    with pytest.raises(Invalid, match="ARGOSY_REGISTRY is not"):
        check_registry(Settings(registry_login_file=Path("/login")))
