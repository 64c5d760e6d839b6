"""Agents on another Python than the one for those that name none, and packages built for it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.pythons import find_pythons
from tests.conftest import require
from tests.e2e.servers import KEY, DevServer, dev_server
from tests.workers.builds import open_directory
from tests.workers.packages import make_sdist, make_wheel

HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
PRINTS = "import sys\nprint('Python', '.'.join(map(str, sys.version_info[:2])))\n"
ON_DISK = 60


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that is the package index: one wheel, one source distribution."""
    with open_directory() as path:
        make_wheel(path, "good", "1.0")
        make_sdist(path, "made", "1.0")
        yield path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[DevServer]:
    data = Path(tmp_path_factory.mktemp("pythons")) / "data"
    environment = {"ARGOSY_PACKAGE_INDEX": str(folder)}
    with dev_server(data, environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def other() -> str:
    """A Python that is there beside the one for agents that name none."""
    _, *others = find_pythons(os.environ.get("ARGOSY_PYTHONS", ""))
    if not others:
        require("pythons", "only one Python was found on this machine")
    return ".".join(map(str, others[0].version))


def post(server: DevServer, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, headers=HEADERS, timeout=30)


def deploy(server: DevServer, name: str, **source: Any) -> dict[str, Any]:
    files = {"agent.py": PRINTS, **source.pop("files", {})}
    body = {"name": name, "source": {"files": files, **source}}
    answer = post(server, "/v1/workspaces/default/deployments", body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def output(server: DevServer, name: str) -> str:
    run = server.argosy("invoke", name, "-m", "go", "--json", timeout=ON_DISK).json
    assert run["status"] == "completed", run
    return run["output"].strip()


def test_a_source_runs_on_the_python_that_it_names(server: DevServer, other: str) -> None:
    named = deploy(server, "named", python=other)
    deploy(server, "by-file", files={".python-version": f"{other}.1\n"})
    deploy(
        server,
        "by-project",
        files={"pyproject.toml": f"[project]\nrequires-python = '=={other}.*'\n"},
    )
    deploy(server, "plain")

    assert (named["execution_mode"], named["build_required"]) == ("INSTANT_RUNTIME", False)
    for name in ("named", "by-file", "by-project"):
        assert output(server, name) == f"Python {other}"
    assert output(server, "plain") != f"Python {other}"


def test_packages_are_installed_and_built_for_that_python(server: DevServer, other: str) -> None:
    uses = f"import good, made\n{PRINTS}print(good.VERSION, made.VERSION)\n"
    files = {"agent.py": uses, "requirements.txt": "good\nmade\n"}

    deploy(server, "here", files=files)
    deploy(server, "there", files=files, python=other)

    assert output(server, "here").endswith("1.0 1.0")
    assert output(server, "there") == f"Python {other}\n1.0 1.0"


def test_the_dialect_follows_the_files(server: DevServer, other: str) -> None:
    files = {"agent.py": PRINTS, ".python-version": other}
    answer = post(server, "/api/deploy", {"agent_name": "dialect", "source_files": files})

    assert answer.status_code == 201, answer.text
    assert output(server, "dialect") == f"Python {other}"


def test_a_python_that_is_not_there_is_refused_at_once(server: DevServer) -> None:
    source = {"files": {"agent.py": PRINTS}, "python": "3.99"}
    native = post(server, "/v1/workspaces/default/deployments", {"name": "no", "source": source})
    files = {"agent.py": PRINTS, ".python-version": "3.99"}
    dialect = post(server, "/api/deploy", {"agent_name": "no", "source_files": files})

    assert native.status_code == 422
    assert native.json()["field"] == "source.python"
    assert "Python 3.99 is required; here is" in native.json()["detail"]
    assert "ARGOSY_PYTHONS" in native.json()["detail"]
    assert dialect.status_code == 400
    assert ".python-version asks for Python 3.99" in dialect.text
