"""Registries: what may be declared, and what stays of the one before."""

import pytest
from msgspec.structs import replace

from domain.catalog import Registry
from domain.errors import Invalid
from domain.registries import declared_registry

WANTED = Registry(host="ghcr.io", username="acme")


def name(field: str) -> str:
    return f"body.{field}"


def test_a_registry_keeps_its_password_until_another_is_given() -> None:
    first = declared_registry(WANTED, None, name, credential="secret_1")

    assert first == replace(WANTED, credential="secret_1")
    assert declared_registry(replace(WANTED, username="b"), first, name).credential == "secret_1"
    assert declared_registry(WANTED, first, name, credential="secret_2").credential == "secret_2"
    assert declared_registry(WANTED, first, name, credential="").credential == ""


def test_a_password_goes_to_no_other_registry() -> None:
    first = declared_registry(WANTED, None, name, credential="secret_1")

    with pytest.raises(Invalid, match="another registry") as refused:
        declared_registry(replace(WANTED, host="evil.example"), first, name)
    assert refused.value.members["field"] == "body.credential"


@pytest.mark.parametrize("host", ["Registry.Example:5000", "docker.io", "localhost", "[::1]:5000"])
def test_hosts_are_as_images_name_them(host: str) -> None:
    assert declared_registry(replace(WANTED, host=host), None, name).host == host.lower()


@pytest.mark.parametrize("host", ["", "acme", "ghcr.io/acme", "https://ghcr.io", "a b.example"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(Invalid) as refused:
        declared_registry(replace(WANTED, host=host), None, name)
    assert refused.value.members["field"] == "body.host"


@pytest.mark.parametrize("username", ["", "a:b", "a\nb", "x" * 201])
def test_what_is_no_user_is_refused(username: str) -> None:
    with pytest.raises(Invalid) as refused:
        declared_registry(replace(WANTED, username=username), None, name)
    assert refused.value.members["field"] == "body.username"
