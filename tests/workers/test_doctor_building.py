"""What the doctor finds of builds: settings, index and engine that are really wrong."""

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from adapters.settings import Settings
from tests.containers.serving import engine_url
from tests.e2e.servers import free_port
from workers.doctor.building import look_at_builds
from workers.doctor.findings import Finding


@pytest.fixture
def served() -> Iterator[str]:
    """Somebody who listens, by host and port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def look(check: str, **settings: str) -> Finding:
    """Return the finding of one check, of a server whose index is a folder if nothing is said."""
    given = {"package_index": "/", "index_file_hosts": "", **settings}
    [finding] = [each for each in await look_at_builds(Settings(**given)) if each.check == check]  # pyright: ignore[reportArgumentType]  # texts
    assert finding.status == "ok" or finding.advice
    return finding


async def test_an_index_that_answers(served: str) -> None:
    assert (await look("index")).detail == "a folder of wheels, /"

    finding = await look("index", package_index=f"http://{served}/simple")

    assert (finding.status, finding.detail) == ("ok", f"{served} can be connected to")


@pytest.mark.parametrize("setting", ["ftp://index.test/simple", "/no/such/folder"])
async def test_an_index_that_build_workers_do_not_start_with(setting: str) -> None:
    finding = await look("index", package_index=setting)

    assert finding.status == "failure"
    assert "ARGOSY_PACKAGE_INDEX" in finding.detail


async def test_an_index_that_is_away(served: str) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    index = f"http://{nowhere}/simple"

    finding = await look("index", package_index=index, index_file_hosts=served)

    assert finding.status == "warning"
    assert finding.detail == f"{nowhere} cannot be connected to: connection refused"


async def test_an_index_behind_a_proxy_that_is_away(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("http_proxy", f"http://{nowhere}")
    monkeypatch.delenv("no_proxy", raising=False)

    away = await look("index", package_index=f"http://{served}/simple")
    monkeypatch.setenv("http_proxy", f"http://{served}")
    there = await look("index", package_index="http://index.test/simple")

    assert (away.status, there.status) == ("warning", "ok")
    assert nowhere in away.detail


async def test_a_registry_that_build_workers_do_not_start_with() -> None:
    finding = await look("registry", registry="https://registry.test/argosy")

    assert finding.status == "failure"
    assert "ARGOSY_REGISTRY" in finding.detail


async def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    finding = await look("engine", engine=f"unix://{tmp_path}/no.sock")

    assert finding.status == "failure"
    assert "ARGOSY_ENGINE" in finding.advice


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts an engine here")
async def test_an_engine_that_builds() -> None:
    finding = await look("engine", engine=engine_url())

    assert finding.status == "ok"
