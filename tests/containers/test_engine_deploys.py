"""Deploying what needs an environment of its own, all the way: built, run, pulled."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.containers.engine import Engine, need_podman, serve
from tests.containers.test_pulling import PULL, an_engine
from tests.e2e.servers import DevServer, dev_server
from tests.registries import busybox, layer, link, python, registry

BASE = "base:1"
AGENT = "import sys\n\ndef handler(request):\n    return 'hello ' + request['message']\n"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    need_podman()
    with an_engine(tmp_path_factory.mktemp("engine")) as opened:
        yield opened


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """A registry with what is built upon."""
    pythons = {**python(), "bin/python3": link("bin/python3", "python")}
    with registry() as opened:
        opened.push(BASE, [layer(busybox())], Cmd=["/bin/sh"], Env=["PATH=/bin"])
        opened.push("python:3.12", [layer(pythons)], Env=["PATH=/bin"])
        yield opened.host


@pytest.fixture(scope="module")
def server(
    engine: Engine, host: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DevServer]:
    with serve(engine) as socket:
        environment = {
            "ARGOSY_ENGINE": f"unix://{socket}",
            "ARGOSY_ENGINE_NETWORK": "host",
            "ARGOSY_ENGINE_IMAGE": f"{host}/python:{{python}}",
            "ARGOSY_INSECURE_REGISTRIES": host,
            "ARGOSY_OUTBOUND_ALLOW": host,
        }
        folder = tmp_path_factory.mktemp("engine-deploys")
        with dev_server(folder / "data", environment=environment) as started:
            yield started


def deployed(server: DevServer, folder: Path, files: Mapping[str, str]) -> dict[str, str]:
    folder.mkdir()
    for path, text in files.items():
        (folder / path).write_text(text)
    return server.argosy("deploy", str(folder), "--json", timeout=300).json


def answer(server: DevServer, name: str, message: str) -> str:
    return server.argosy("invoke", name, "-m", message, "--json", timeout=120).json["output"]


def test_a_dockerfile_is_built_run_and_pulled(
    server: DevServer, engine: Engine, host: str, tmp_path: Path
) -> None:
    dockerfile = (
        f'FROM {host}/{BASE}\nRUN echo made > /made.txt\nCMD ["/bin/cat", "/made.txt", "-"]\n'
    )

    made = deployed(server, tmp_path / "own", {"Dockerfile": dockerfile})

    assert made["execution_mode"] == "FULL_BUILD"
    assert "asks for an environment of its own" in made["decision_reason"]
    assert answer(server, "own", "hello").split() == ["made", "hello"]
    build = server.argosy("build", "show", made["build_id"], "--json").json
    assert f"{host}/{BASE} is sha256:" in build["plan"]["evidence"]
    engine.run(*PULL, made["image_uri"])
    assert engine.run("run", "--rm", "--network=none", made["image_uri"], "cat", "/made.txt") == (
        "made\n"
    )


def test_a_dockerfile_copies_the_requirements(server: DevServer, host: str, tmp_path: Path) -> None:
    dockerfile = (
        f"FROM {host}/{BASE}\nCOPY requirements.txt /there/\n"
        'CMD ["/bin/cat", "/there/requirements.txt"]\n'
    )
    files = {"Dockerfile": dockerfile, "requirements.txt": "# ours\nsix==1.17.0\n"}

    deployed(server, tmp_path / "copies", files)

    assert answer(server, "copies", "").split() == ["#", "ours", "six==1.17.0"]


def test_a_python_that_the_server_lacks(server: DevServer, tmp_path: Path) -> None:
    made = deployed(server, tmp_path / "newer", {"agent.py": AGENT, ".python-version": "3.12\n"})

    assert made["execution_mode"] == "FULL_BUILD"
    assert "Python 3.12 is required" in made["decision_reason"]
    assert answer(server, "newer", "you") == "hello you"


def test_a_dockerfile_that_cannot_be_taken_leaves_nothing(
    server: DevServer, host: str, tmp_path: Path
) -> None:
    folder = tmp_path / "wrong"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {host}/{BASE}\nADD https://example.org/x /x\n")

    refused = server.argosy("deploy", str(folder), expect=None)

    assert refused.code != 0
    assert "Dockerfile, line 2: ADD fetches nothing here" in refused.err
    assert "wrong" not in server.argosy("deployment", "list", "--json").out
