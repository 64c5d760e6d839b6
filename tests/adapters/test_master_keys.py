"""Where the master key is found, and that it is found nowhere else."""

import base64
import os
from pathlib import Path

import msgspec
import pytest

from adapters.master_keys import read_master_key
from adapters.settings import Concealed, Settings, read_settings
from adapters.vault import VaultLocked

KEY = bytes(range(224, 256))  # base64 of it has every odd character
HEX = KEY.hex()


def given(**environment: str) -> Settings:
    return read_settings({f"ARGOSY_{name}": value for name, value in environment.items()})


@pytest.mark.parametrize(
    "text",
    [
        HEX,
        HEX.upper(),
        f"  {HEX}\n",
        base64.b64encode(KEY).decode(),
        base64.b64encode(KEY).decode().rstrip("="),
        base64.urlsafe_b64encode(KEY).decode(),
    ],
)
def test_it_is_read_from_the_environment_or_a_file(text: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(text)

    assert read_master_key(given(MASTER_KEY=text)) == KEY
    assert read_master_key(given(MASTER_KEY_FILE=str(file))) == KEY
    assert read_master_key(given(MASTER_KEY="", MASTER_KEY_FILE=str(file))) == KEY


@pytest.mark.parametrize("text", [HEX[:-2], HEX + "00", HEX[:-1] + "x", "hunter2", "é" * 64])
def test_what_is_no_key_is_refused_without_being_shown(text: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(text)

    for settings in (given(MASTER_KEY=text), given(MASTER_KEY_FILE=str(file))):
        with pytest.raises(VaultLocked, match="openssl rand -hex 32") as refused:
            read_master_key(settings)
        assert text not in str(refused.value)
        assert text not in repr(settings)


def test_without_a_key_it_says_how_to_make_one() -> None:
    for settings in (Settings(), given(MASTER_KEY=""), given(MASTER_KEY_FILE="")):
        with pytest.raises(VaultLocked, match="Set ARGOSY_MASTER_KEY"):
            read_master_key(settings)


def test_two_keys_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(VaultLocked, match="both set"):
        read_master_key(given(MASTER_KEY=HEX, MASTER_KEY_FILE=str(tmp_path)))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff" * 32)

    for file, why in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        (binary, "not text"),
    ):
        with pytest.raises(VaultLocked, match=why) as refused:
            read_master_key(given(MASTER_KEY_FILE=str(file)))
        assert str(file) in refused.value.detail


def test_no_child_process_inherits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGOSY_MASTER_KEY", HEX)

    settings = read_settings()

    assert read_master_key(settings) == KEY
    assert "ARGOSY_MASTER_KEY" not in os.environ


def test_nothing_shows_it_by_accident() -> None:
    settings = given(MASTER_KEY=HEX)
    shown = [repr(settings), str(settings.master_key), f"{settings.master_key!r}"]

    assert not any(HEX in text for text in shown)
    with pytest.raises(TypeError):
        msgspec.json.encode({"key": Concealed(HEX)})
    with pytest.raises(TypeError):
        msgspec.to_builtins(Concealed(HEX))
