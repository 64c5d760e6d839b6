"""Settings that are wrong are refused by the name of their variable, and never shown."""

import pytest

from adapters.settings import read_settings
from domain.errors import Invalid


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ARGOSY_PORT", "eighty", "`int`"),
        ("ARGOSY_BUILD_SLOTS", "0", ">= 1"),
        ("ARGOSY_LOG_FORMAT", "xml", "'xml'"),
        ("ARGOSY_ENGINE", "tcp://127.0.0.1:2375", "unix:///run/docker.sock"),
        ("ARGOSY_ENGINE", "unix://relative.sock", "unix:///run/docker.sock"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(variable: str, value: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_settings({variable: value})

    assert caught.value.field == variable
    assert caught.value.detail.startswith(f"{variable}: ")
    assert words in caught.value.detail


def test_what_is_not_set_has_its_default() -> None:
    assert read_settings({}).engine == ""
    assert read_settings({"ARGOSY_ENGINE": "unix:///run/x.sock"}).engine == "unix:///run/x.sock"
