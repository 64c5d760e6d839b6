"""What can be said of compose.yaml without starting it; `python -m tests.containers` starts it."""

import re
from pathlib import Path

import pytest

from tests.containers.composing import flags_of, read_compose, words_of
from tests.e2e.servers import ROOT

SECRETS = {"master_key": Path("/secret")}


def test_everything_in_it_is_understood() -> None:
    flags = {name: flags_of(service, SECRETS) for name, service in read_compose().items()}

    assert flags["host"][:2] == [
        "--env",
        "ARGOSY_DATABASE=postgresql://argosy:argosy@postgres/argosy",
    ]


def test_what_is_not_understood_is_not_left_out() -> None:
    service = {**read_compose()["host"], "privileged": True}

    with pytest.raises(ValueError, match="privileged"):
        flags_of(service, SECRETS)


def test_only_workers_have_privileges_and_each_says_why() -> None:
    services = read_compose()
    privileged = {name for name, each in services.items() if each.get("user") == "root"}
    assert privileged == {"host", "build"}
    assert all(services[name]["cap_drop"] == ["ALL"] for name in privileged)
    lines = (ROOT / "compose.yaml").read_text().splitlines()
    for name in privileged:
        for capability in services[name]["cap_add"]:
            assert any(re.search(rf"- {capability} # \w", line) for line in lines), capability


def test_only_those_who_open_the_vault_are_given_its_key() -> None:
    services = read_compose()
    given = {name for name, each in services.items() if each.get("secrets")}

    assert given == {"api", "host", "build"}
    assert not any("ARGOSY_MASTER_KEY" in each.get("environment", {}) for each in services.values())


def test_every_process_of_ours_is_a_module_of_the_image() -> None:
    for name, service in read_compose().items():
        if service["image"] == "argosy":
            python, option, module, *_ = words_of(service["command"])
            assert (python, option) == ("python", "-m"), name
            assert (ROOT / module / "__main__.py").exists()
