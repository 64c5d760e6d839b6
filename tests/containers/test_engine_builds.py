"""Sources that need an environment of their own, built by a real engine behind its socket."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from adapters.engines import open_engine
from adapters.scratch import remove_tree
from adapters.settings import Settings
from domain.builds import BuildEnded
from domain.errors import Unavailable
from domain.execution import SourceDefinition
from tests.containers.engine import Engine, need_podman, serve
from tests.registries import Registry, busybox, layer, registry
from tests.workers.builds import LIMITS, REQUEST, Builder, the_driver
from tests.workers.gateways import until
from workers.builder.indexes import find_index
from workers.images.programs import program_in

BASE = "base:1"


@pytest.fixture(scope="module")
def images() -> Iterator[Registry]:
    """A registry with something to build upon."""
    with registry() as opened:
        opened.push(BASE, [layer(busybox())], Cmd=["/bin/sh"], Env=["PATH=/bin"])
        opened.push("triggers:1", [layer(busybox())], OnBuild=["RUN echo surprise"])
        yield opened


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    need_podman()
    opened = Engine(tmp_path_factory.mktemp("podman"))
    yield opened
    opened.run("rmi", "--all", "--force")


@pytest.fixture(scope="module")
def socket(engine: Engine) -> Iterator[str]:
    with serve(engine) as path:
        yield f"unix://{path}"


@pytest.fixture
def builder(images: Registry, engine: Engine, socket: str) -> Iterator[Builder]:
    directory = Path(tempfile.mkdtemp(prefix="argosy-engine-"))
    made = Builder(directory, the_driver(), find_index("", {}))
    settings = Settings(outbound_allow=images.host, insecure_registries=images.host, engine=socket)
    made.tools = msgspec.structs.replace(made.tools, settings=settings)
    yield made
    assert made.leftovers() == []
    assert "argosy.invalid/build" not in engine.run("images", "--all")
    assert engine.run("ps", "--all", "--quiet").strip() == ""
    remove_tree(directory)


async def build(builder: Builder, dockerfile: str, **files: str) -> BuildEnded:
    return await build_files(builder, {"Dockerfile": dockerfile, **files})


async def build_files(builder: Builder, files: Mapping[str, str], **fields: str) -> BuildEnded:
    digests = await builder.blobs.put_all([text.encode() for text in files.values()])
    definition = SourceDefinition(
        files=dict(zip(files, digests, strict=True)), entry_point="", **fields
    )
    request = msgspec.structs.replace(REQUEST, mode="FULL_BUILD")
    return await builder.build_definition(definition, request)


def failed(end: BuildEnded, step: str, *words: str) -> None:
    assert (end.how, end.step) == ("failed", step), end
    for word in words:
        assert word in end.detail + end.hint


async def test_a_dockerfile_becomes_an_image_of_our_own(
    builder: Builder, images: Registry, engine: Engine
) -> None:
    dockerfile = (
        f"FROM {images.host}/{BASE} AS made\n"
        "COPY words.txt /from/\n"
        "RUN cat /from/words.txt > /made.txt && echo said aloud\n"
        f"FROM {images.host}/{BASE}\n"
        "COPY --from=made /made.txt /made.txt\n"
        'CMD ["/bin/cat", "/made.txt"]\n'
    )

    end = await build(builder, dockerfile, **{"words.txt": "hello"})
    again = await build(builder, dockerfile, **{"words.txt": "hello"})

    assert end.how == again.how == "succeeded", end
    assert end.artifact is not None
    assert end.artifact.image is not None
    assert (end.artifact.base, bool(end.artifact.source)) == ("", True)
    tree = await builder.layers.image(end.artifact.image)
    assert (tree / "root/made.txt").read_text() == "hello"
    assert not (tree / "root/from").exists()
    assert program_in(tree).argv == ("/bin/cat", "/made.txt")
    (plan,) = builder.plans
    assert (plan.mode, plan.confirmed) == ("FULL_BUILD", True)
    assert f"{images.host}/{BASE} is sha256:" in plan.evidence
    assert "said aloud" in builder.text
    # What is below is kept as the registry has it, so it is stored once.
    manifest = json.loads(await builder.blobs.get(end.artifact.image.manifest))
    assert manifest["layers"][0]["digest"] in end.artifact.image.layers
    assert [step.name for step in end.steps] == ["plan", "resolve", "build", "store", "unpack"]


async def test_a_dockerfile_that_fails(builder: Builder, images: Registry) -> None:
    end = await build(
        builder, f"FROM {images.host}/{BASE}\nRUN echo before && ls /nowhere\nCMD ['x']\n"
    )

    failed(end, "build", "RUN echo before", "/nowhere", "Mend the Dockerfile")


async def test_what_runs_in_it_has_no_network_and_no_image_of_the_engine(
    builder: Builder, images: Registry, engine: Engine
) -> None:
    engine.run("tag", engine.run("images", "--quiet").split()[0], "localhost/private:1")

    alone = await build(
        builder,
        f"FROM {images.host}/{BASE}\nRUN wget -T 3 -O- http://{images.host}/v2/\n",
    )
    private = await build(builder, "FROM localhost/private:1\n")

    failed(alone, "build", "wget")
    failed(private, "resolve", "not on the public internet")


@pytest.mark.parametrize(
    ("dockerfile", "step", "words"),
    [
        ("FROM {host}/nothing:1\n", "resolve", "nothing:1"),
        ("FROM {host}/triggers:1\n", "resolve", "ONBUILD"),
        ("FROM {host}/base:1\nRUN --network=host wget x\n", "plan", "line 2"),
        ("FROM {host}/base:1\nENTRYPOINT []\nCMD []\n", "store", "neither ENTRYPOINT nor CMD"),
    ],
)
async def test_what_cannot_be_built(
    builder: Builder, images: Registry, dockerfile: str, step: str, words: str
) -> None:
    failed(await build(builder, dockerfile.format(host=images.host)), step, words)


async def test_an_image_that_is_too_large(builder: Builder, images: Registry) -> None:
    limits = msgspec.structs.replace(LIMITS, disk_mb=4)
    builder.tools = msgspec.structs.replace(builder.tools, limits=limits)

    end = await build(
        builder, f"FROM {images.host}/{BASE}\nRUN dd if=/dev/urandom of=/x bs=1M count=8\n"
    )

    failed(end, "store", "more than 4 MB")


async def test_a_build_that_takes_too_long_is_ended_in_the_engine(
    builder: Builder, images: Registry, engine: Engine
) -> None:
    limits = msgspec.structs.replace(LIMITS, seconds=8)
    builder.tools = msgspec.structs.replace(builder.tools, limits=limits)

    end = await build(builder, f"FROM {images.host}/{BASE}\nRUN echo on && sleep 4711\n")

    failed(end, "build", "longer than the 8 s")
    await until(lambda: not _runs("sleep 4711"))


async def test_an_engine_that_does_not_answer(builder: Builder, images: Registry) -> None:
    settings = msgspec.structs.replace(builder.tools.settings, engine="unix:///nowhere.sock")
    builder.tools = msgspec.structs.replace(builder.tools, settings=settings)

    failed(
        await build(builder, f"FROM {images.host}/{BASE}\n"),
        "plan",
        "The container engine failed (answering)",
    )
    with pytest.raises(Unavailable):
        async with open_engine("unix:///nowhere.sock"):
            pass


def _runs(words: str) -> bool:
    return any(words in _arguments(path) for path in Path("/proc").glob("[0-9]*/cmdline"))


def _arguments(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""
