"""The lock files of base environments, as they are in the repository."""

import pytest
from packaging.requirements import Requirement

from adapters.base_locks import FOLDER, base_names, read_lock
from adapters.bases import find_base
from domain.execution import FRAMEWORKS
from domain.requirements import normalised

PYTHONS = ("3.11", "3.13")


def test_there_is_a_base_for_each_framework() -> None:
    assert base_names() == sorted(set(FRAMEWORKS.values()))
    assert [base.name for base in find_base().frameworks] == base_names()


@pytest.mark.parametrize("name", base_names())
@pytest.mark.parametrize("python", PYTHONS)
def test_a_lock_has_what_is_wanted_once_and_with_hashes(name: str, python: str) -> None:
    lock = read_lock(name, python)

    names = [locked.name for locked in lock]
    wanted = (FOLDER / f"{name}.in").read_text().split()
    assert {normalised(Requirement(line).name) for line in wanted} <= set(names)
    assert len(names) == len(set(names))
    assert all(locked.hashes for locked in lock)


def test_a_lock_is_read_for_linux_and_the_python_that_is_given() -> None:
    old, new = ({one.name: one.version for one in read_lock("crewai", it)} for it in PYTHONS)

    assert "pywin32" not in old
    assert old["numpy"] != new["numpy"]
