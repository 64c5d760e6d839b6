"""Agents as images in the operator's own registry: pulled by their `image_uri`, run, and asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.engine import need_podman
from tests.containers.test_pulling import FILES, Pulled, an_engine, ask, running
from tests.e2e.servers import DevServer, dev_server
from tests.registries import Registry, registry
from tests.workers.builds import open_directory
from tests.workers.packages import make_wheel

LOGIN = ("argosy", "sesame-word")
PULL = ("pull", "--quiet", "--tls-verify=false")


@pytest.fixture(scope="module")
def private() -> Iterator[Registry]:
    with registry(LOGIN) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(private: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    need_podman()
    folder = tmp_path_factory.mktemp("pushing")
    with open_directory() as index:
        make_wheel(index, "small", "1.5")
        login = folder / "login"
        login.write_text("\n".join(LOGIN))
        environment = {
            "ARGOSY_PACKAGE_INDEX": str(index),
            "ARGOSY_REGISTRY": f"{private.host}/argosy",
            "ARGOSY_REGISTRY_LOGIN_FILE": str(login),
            "ARGOSY_INSECURE_REGISTRIES": private.host,
            "ARGOSY_OUTBOUND_ALLOW": private.host,
        }
        with dev_server(folder / "data", environment=environment) as started:
            yield started


def test_a_deployed_agent_is_pulled_from_there_and_answers(
    server: DevServer, private: Registry, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path, text in FILES.items():
        (source / path).write_text(text)

    made = server.argosy("deploy", str(source), "--name", "echo", "--json", timeout=300).json
    (version,) = server.argosy("agent", "show", "echo", "--json").json["versions"]
    again = server.argosy("deploy", str(source), "--name", "echo", "--json", timeout=300).json
    uri = version["image_uri"]

    repository = f"{private.host}/argosy/default/echo"
    assert made["image_uri"].startswith(f"{repository}:")
    assert uri.startswith(f"{repository}@sha256:")
    assert again["image_uri"] == uri
    with an_engine(tmp_path / "engine") as engine:
        assert engine.try_(*PULL, uri).returncode != 0  # without the login
        for name in (made["image_uri"], uri):
            engine.run(*PULL, "--creds", ":".join(LOGIN), name)
        pulled = Pulled(engine, uri, uri.partition("@")[2])
        with running(pulled) as container:
            status, answer = ask(pulled, container, "/invoke", {"message": "you"})
    assert (status, answer["response"]) == (200, "hello you, small 1.5, uid 1000")


def test_the_login_is_in_no_event_and_no_log(server: DevServer) -> None:
    kept = [path for path in server.data.parent.rglob("*") if path.is_file()]
    told = [path for path in kept if path.name != "login" and "blobs" not in path.parts]

    assert any(path.name == "log.db" for path in told)
    assert not any(LOGIN[1].encode() in path.read_bytes() for path in told)
