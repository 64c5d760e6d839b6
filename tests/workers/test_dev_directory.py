"""The data directory of a dev server: one holder, a key that stays, nothing left behind."""

import json
import os
import stat
from pathlib import Path

import pytest
from argosy.config import find_server

from domain.errors import Conflict, Unavailable
from workers.dev.directory import DataDirectory
from workers.dev.redis_server import redis_command


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The person has not fixed the key."""
    monkeypatch.delenv("ARGOSY_DEV_API_KEY", raising=False)


def mode(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_for_its_owner_only(tmp_path: Path) -> None:
    held = DataDirectory(tmp_path / "deep" / "data")
    key = held.key()
    held.announce("http://127.0.0.1:8700", key, "default")

    assert mode(held.path) == 0o700
    assert mode(held.logs) == 0o700
    assert mode(held.socket("redis.sock").parent) == 0o700
    assert mode(held.path / "dev.json") == 0o600
    assert mode(held.path / "dev.key") == 0o600
    held.release()


def test_clients_find_what_is_announced(tmp_path: Path) -> None:
    held = DataDirectory(tmp_path / "data")
    held.announce("http://127.0.0.1:8700", "argosy_k", "default")

    found = find_server({"ARGOSY_DATA": str(held.path), "XDG_CONFIG_HOME": str(tmp_path)})

    assert (found.url, found.api_key) == ("http://127.0.0.1:8700", "argosy_k")
    assert json.loads((held.path / "dev.json").read_text())["pid"] == os.getpid()
    held.release()


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    held = DataDirectory(tmp_path / "data")
    held.announce("http://127.0.0.1:8700", "k", "default")

    with pytest.raises(Conflict) as caught:
        DataDirectory(tmp_path / "data")

    assert f"at http://127.0.0.1:8700 (process {os.getpid()})" in caught.value.detail
    assert "--data-dir" in caught.value.detail
    held.release()
    DataDirectory(tmp_path / "data").release()


def test_the_key_stays_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = DataDirectory(tmp_path / "data")
    key = first.key()
    first.release()
    second = DataDirectory(tmp_path / "data")

    assert second.key() == key
    assert key.startswith("argosy_")
    assert len(key) == 50
    monkeypatch.setenv("ARGOSY_DEV_API_KEY", "argosy_fixed")
    assert second.key() == "argosy_fixed"
    second.release()


def test_nothing_says_that_a_stopped_server_runs(tmp_path: Path) -> None:
    held = DataDirectory(tmp_path / "data")
    held.socket("redis.sock").touch()
    held.announce("http://127.0.0.1:8700", "k", "default")

    held.release()

    assert sorted(path.name for path in held.path.iterdir()) == ["dev.lock"]


def test_a_socket_s_path_is_short_enough(tmp_path: Path) -> None:
    held = DataDirectory(tmp_path / ("long" * 25))

    socket = held.socket("redis.sock")

    assert len(str(socket)) < 100
    assert mode(socket.parent) == 0o700
    held.release()
    assert not socket.parent.exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Unavailable, match=r"file/data cannot be used: Not a directory"):
        DataDirectory(tmp_path / "file" / "data")


def test_the_wheel_s_server_is_used_where_none_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    binary = redis_command(tmp_path / "s", tmp_path)[0]

    assert binary.endswith("/valkey-server")
    assert os.access(binary, os.X_OK)
