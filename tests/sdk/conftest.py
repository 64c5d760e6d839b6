"""A recorded server, a client of it, and the command line as a person would run it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from argosy import Argosy
from argosy.cli.main import main
from msgspec import Struct

from tests.sdk.recorded_server import RecordedServer, recorded_server

KEY = "argosy_a_key_that_must_never_be_shown"


class Finished(Struct, frozen=True):
    """A command that ended."""

    code: int
    out: str
    err: str


type Cli = Callable[..., Finished]


@pytest.fixture
def server() -> Iterator[RecordedServer]:
    """A server that plays back answers."""
    with recorded_server() as playing:
        yield playing


@pytest.fixture
def client(server: RecordedServer) -> Iterator[Argosy]:
    """A client of it."""
    with Argosy(server.url, KEY, workspace="default", retry_seconds=5.0) as made:
        yield made


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing of the person's own: an empty folder, no settings, no server."""
    for name in ("ARGOSY_URL", "ARGOSY_API_KEY", "ARGOSY_WORKSPACE", "ARGOSY_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def argosy(
    alone: Path,
    server: RecordedServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cli:
    """The command line, in this process, with the recorded server as its server."""
    monkeypatch.setenv("ARGOSY_URL", server.url)
    monkeypatch.setenv("ARGOSY_API_KEY", KEY)
    monkeypatch.setenv("ARGOSY_WORKSPACE", "default")

    def run(*arguments: str) -> Finished:
        code = main(list(arguments))
        said = capsys.readouterr()
        return Finished(code, said.out, said.err)

    return run
