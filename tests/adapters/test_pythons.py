"""Which interpreters are found, and which are refused."""

import os
import stat
import sys
from pathlib import Path

import pytest

from adapters.bases import find_base
from adapters.pythons import OLDEST, Interpreter, find_pythons
from domain.errors import Invalid
from workers.sandboxes.bases import find_bases

RUNNING = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")


def pretending(folder: Path, says: str) -> Path:
    """A program that answers what an interpreter would."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_there_is_one_of_each_minor_version_and_all_will_do() -> None:
    found = find_pythons()

    assert found
    assert len({each.version for each in found}) == len(found)
    assert all(each.version >= OLDEST and not each.why_not for each in found)


def test_the_setting_names_further_ones_and_the_default_stays() -> None:
    named = find_pythons(f" {RUNNING} , {RUNNING}")

    assert named[0] == find_pythons()[0]
    assert sys.version_info[:2] in [each.version for each in named]


@pytest.mark.parametrize("path", ["/no/such/python", "python3", "/bin/false", "/etc/passwd"])
def test_what_is_no_interpreter_is_refused(path: str) -> None:
    with pytest.raises(Invalid, match=rf"ARGOSY_PYTHONS: {path} cannot be run"):
        find_pythons(path)


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ('["/x", "/usr", [3, 9], ["glibc", "2.36"], "cpython", ""]', "older than Python 3.11"),
        ('["/x", "/usr", [3, 12], ["glibc", "2.36"], "pypy", ""]', "is pypy"),
        ('["/x", "/usr", [3, 13], ["glibc", "2.36"], "cpython", "t"]', "is cpythont"),
        ("Python 3.13", "cannot be run"),
    ],
)
def test_what_agents_cannot_run_on_is_refused(tmp_path: Path, says: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        find_pythons(str(pretending(tmp_path, says)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's sandboxes run as somebody else")
def test_what_only_its_owner_may_read_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    found = Interpreter("/x", str(closed), (3, 13), ("glibc", "2.36"))

    assert "only its owner may read" in found.why_not


def test_bases_are_judged_and_shown_in_the_same_order() -> None:
    plain, shown = find_base(), find_bases()

    assert [each.python for each in (plain, *plain.others)] == [each.version for each in shown]
    assert [each.name for each in plain.others] == [f"python{each.version}" for each in shown[1:]]
    for other in plain.others:
        assert [each.name.removesuffix(f"-{other.name}") for each in other.frameworks] == [
            each.name for each in plain.frameworks
        ]
