"""Finding the server: the environment, else the dev server of this folder or a parent."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from argosy import NotConfigured
from argosy.config import find_server, store_workspace, stored_workspace


def dev(folder: Path, *, pid: int | None = None, url: str = "http://127.0.0.1:8700") -> Path:
    """Write what a dev server writes."""
    folder.mkdir(parents=True)
    found = {"url": url, "api_key": "argosy_dev", "workspace": "default", "pid": pid or os.getpid()}
    (folder / "dev.json").write_text(json.dumps(found))
    return folder


def dead_pid() -> int:
    """Return the id of a process that has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


def test_the_environment_goes_first(tmp_path: Path) -> None:
    dev(tmp_path / ".argosy")
    environment = {
        "ARGOSY_URL": "https://argosy.example/",
        "ARGOSY_API_KEY": "argosy_k",
        "ARGOSY_WORKSPACE": "staging",
        "XDG_CONFIG_HOME": str(tmp_path),
    }

    server = find_server(environment, tmp_path)

    assert server.url == "https://argosy.example"
    assert (server.api_key, server.workspace) == ("argosy_k", "staging")
    assert "argosy_k" not in repr(server)


def test_the_dev_server_of_a_parent_folder_is_found(tmp_path: Path) -> None:
    dev(tmp_path / ".argosy")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)

    server = find_server({"XDG_CONFIG_HOME": str(tmp_path)}, below)

    assert (server.url, server.api_key) == ("http://127.0.0.1:8700", "argosy_dev")
    assert server.workspace == "default"


def test_the_named_data_directory_goes_before_this_folder(tmp_path: Path) -> None:
    dev(tmp_path / ".argosy")
    named = dev(tmp_path / "named", url="http://127.0.0.1:9999")

    found = find_server({"ARGOSY_DATA": str(named), "XDG_CONFIG_HOME": str(tmp_path)}, tmp_path)

    assert found.url == "http://127.0.0.1:9999"


def test_a_server_that_has_stopped_is_not_used(tmp_path: Path) -> None:
    here = dev(tmp_path / "a" / ".argosy", pid=dead_pid())

    with pytest.raises(NotConfigured, match="not running any more; start it with `argosy dev`"):
        find_server({}, here.parent)

    dev(tmp_path / ".argosy", url="http://127.0.0.1:1")
    assert find_server({}, here.parent).url == "http://127.0.0.1:1"


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"url": 1, "api_key": 2}'])
def test_a_broken_file_is_no_server(tmp_path: Path, text: str) -> None:
    dev(tmp_path / ".argosy").joinpath("dev.json").write_text(text)

    with pytest.raises(NotConfigured, match="argosy dev"):
        find_server({}, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_file_that_somebody_else_put_there_is_not_trusted(tmp_path: Path) -> None:
    os.chown(dev(tmp_path / ".argosy") / "dev.json", 12345, 12345)

    with pytest.raises(NotConfigured):
        find_server({"ARGOSY_API_KEY": "argosy_secret"}, tmp_path)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ARGOSY_URL": "http://x"}, "ARGOSY_API_KEY is not"),
        ({"ARGOSY_URL": "argosy.example", "ARGOSY_API_KEY": "k"}, "must start with http"),
    ],
)
def test_half_a_configuration_is_named(environment: dict[str, str], said: str) -> None:
    with pytest.raises(NotConfigured, match=said):
        find_server(environment)


def test_the_workspace_in_use_is_kept_for_each_server(tmp_path: Path) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config")}

    file = store_workspace("http://a", "one", environment)
    store_workspace("http://b", "two", environment)

    assert stored_workspace("http://a", environment) == "one"
    assert stored_workspace("http://b", environment) == "two"
    assert stored_workspace("http://c", environment) == ""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["config.json"]


def test_the_workspace_in_use_goes_before_the_dev_server_s_own(tmp_path: Path) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    dev(tmp_path / ".argosy")
    store_workspace("http://127.0.0.1:8700", "staging", environment)

    assert find_server(environment, tmp_path).workspace == "staging"
