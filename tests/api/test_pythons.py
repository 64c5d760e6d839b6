"""Which Python a source asks for by its files."""

import pytest

from api.pythons import find_python
from domain.errors import Invalid
from domain.execution import Base

BASE = Base(
    name="python",
    python="3.11",
    others=(Base(name="python3.13", python="3.13"), Base(name="python3.9", python="3.9")),
)


def project(requires: str) -> dict[str, str]:
    return {"pyproject.toml": f'[project]\nname = "x"\nrequires-python = "{requires}"\n'}


@pytest.mark.parametrize(
    ("files", "python"),
    [
        ({}, ""),
        ({".python-version": "3.13\n"}, "3.13"),
        ({".python-version": "# pinned\n\n3.13.1\n3.12\n"}, "3.13"),
        ({".python-version": "cpython-3.13.1"}, "3.13"),
        ({".python-version": "3.11"}, "3.11"),
        ({".python-version": "my-environment"}, ""),
        ({".python-version": ""}, ""),
        ({"docs/.python-version": "3.13"}, ""),
        (project(">=3.11"), ""),
        (project(">=3.11.4"), ""),
        (project(">=3.12"), "3.13"),
        (project("<3.11"), "3.9"),
        (project("!=3.11.*"), "3.13"),
        (project(""), ""),
        ({"pyproject.toml": "[tool.x]\ny = 1\n"}, ""),
        ({"pyproject.toml": "project = 1\n"}, ""),
        ({**project("==3.9.*"), ".python-version": "3.13"}, "3.13"),
        ({**project("==3.9.*"), ".python-version": "my-environment"}, "3.9"),
    ],
)
def test_the_files_that_tools_read_choose_the_python(files: dict[str, str], python: str) -> None:
    assert find_python(files, BASE, field="source.files") == python


@pytest.mark.parametrize(
    ("files", "field", "words"),
    [
        ({".python-version": "3.12"}, ".python-version", "here is Python 3.11, Python 3.13 and"),
        (project(">=3.14"), "pyproject.toml", "requires Python >=3.14"),
        (project("three"), "pyproject.toml", "write it like >=3.11"),
        ({"pyproject.toml": "[project\n"}, "pyproject.toml", "is not TOML"),
        ({"pyproject.toml": f"x = {'9' * 5000}"}, "pyproject.toml", "is not TOML"),
        ({"pyproject.toml": f"x = {'[' * 90_000}"}, "pyproject.toml", "is not TOML"),
    ],
)
def test_what_cannot_be_met_is_refused(files: dict[str, str], field: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        find_python(files, BASE, field="source.files")

    assert refused.value.members["field"] == f"source.files.{field}"
    assert words in refused.value.detail
