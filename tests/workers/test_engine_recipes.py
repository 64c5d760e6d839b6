"""Our own Dockerfiles, for system packages and other Pythons."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from adapters.settings import Settings
from domain.execution import SourceDefinition
from tests.workers.builds import Builder, the_driver
from workers.builder.engine.recipes import Recipe, find_recipe
from workers.builder.failures import Failure
from workers.builder.indexes import find_index

AGENT = {"agent.py": "print('x')\n"}


async def recipe(
    folder: Path,
    files: Mapping[str, str],
    environment: Mapping[str, str] | None = None,
    *,
    index: str = "",
    **fields: str,
) -> Recipe | Failure:
    builder = Builder(folder, the_driver(), find_index(index, environment or {}))
    digests = await builder.blobs.put_all([text.encode() for text in files.values()])
    definition = SourceDefinition(
        files=dict(zip(files, digests, strict=True)), entry_point="agent.py", **fields
    )
    tools = msgspec.structs.replace(builder.tools, settings=Settings(engine_image="base:{python}"))
    return await find_recipe(tools, "echo", definition)


def text_of(found: Recipe | Failure) -> str:
    assert isinstance(found, Recipe), found
    return found.dockerfile.with_images({image: image for image in found.dockerfile.images})


async def test_system_packages_and_another_python(tmp_path: Path) -> None:
    files = {**AGENT, "apt.txt": "ffmpeg\nlibpq-dev\n"}

    found = await recipe(tmp_path, files, python="3.12")

    text = text_of(found)
    assert text.startswith("FROM base:3.12\nRUN apt-get update && ")
    assert "--no-install-recommends ffmpeg libpq-dev && " in text
    assert "pip" not in text
    assert 'ENV USER_ENTRY_POINT="agent.py"' in text
    assert text.splitlines()[-1].startswith('ENTRYPOINT ["python3",')
    assert isinstance(found, Recipe)
    assert {"source/agent.py", "runtime/argosy/_server.py"} <= set(found.files)


async def test_a_dockerfile_finds_the_requirements_that_came_as_a_field(tmp_path: Path) -> None:
    files = {"Dockerfile": "FROM base\nCOPY requirements.txt .\n"}

    found = await recipe(tmp_path, files, requirements="# ours\nsix==1.17")

    assert isinstance(found, Recipe)
    assert found.files["requirements.txt"] == b"# ours\nsix==1.17\n"


async def test_a_file_of_the_source_goes_before_the_field(tmp_path: Path) -> None:
    files = {"Dockerfile": "FROM base\nCOPY requirements.txt .\n", "requirements.txt": "six\n"}

    found = await recipe(tmp_path, files, requirements="idna")

    assert isinstance(found, Recipe)
    assert found.files["requirements.txt"] == b"six\n"


async def test_packages_come_from_the_operators_index(tmp_path: Path) -> None:
    environment = {"UV_INDEX": "http://more.example.org/simple"}

    found = await recipe(
        tmp_path, AGENT, environment, python="3.12", requirements="six==1.17\nargosy\n"
    )

    assert isinstance(found, Recipe)
    assert found.files["requirements.txt"] == b"six==1.17"
    assert '"--index-url","http://more.example.org/simple"' in text_of(found)
    assert '"--trusted-host","more.example.org"' in text_of(found)


async def test_a_folder_of_wheels_goes_with_it(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "six-1-py3-none-any.whl").write_bytes(b"wheel")

    found = await recipe(
        tmp_path / "data", AGENT, index=str(wheels), python="3.12", requirements="six"
    )

    assert isinstance(found, Recipe)
    assert found.files["wheels/six-1-py3-none-any.whl"] == b"wheel"
    assert '"--no-index"' in text_of(found)


@pytest.mark.parametrize(
    "environment",
    [
        {"UV_DEFAULT_INDEX": "https://user:word@example.org/simple"},
        {"UV_INDEX": "own=https://example.org/simple", "UV_INDEX_OWN_PASSWORD": "word"},
    ],
)
async def test_a_password_of_the_index_is_not_put_into_an_image(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    found = await recipe(tmp_path, AGENT, environment, python="3.12", requirements="six")

    assert isinstance(found, Failure)
    assert "wants a password" in found.detail
    assert "word@" not in found.detail
