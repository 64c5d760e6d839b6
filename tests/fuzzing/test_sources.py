"""Files of a source that the API reads for itself, while a request waits: read or refused, soon."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.npm import PACKAGE_FILE, check_packages
from api.projects import PROJECT_FILE, find_dependencies
from api.pythons import VERSION_FILE, find_python
from domain.dockerfiles import read_dockerfile, read_system_packages
from domain.errors import Invalid
from domain.execution import Base
from tests.fuzzing.effort import examples
from tests.fuzzing.growth import holding_at_most
from tests.fuzzing.mutations import mutated

type Read = Callable[[str], None]

SECONDS = 3.0  # of processor time, also where it is slow
BASE = Base(name="python", python="3.11", others=(Base(name="python3.13", python="3.13"),))
DIGITS = "1" * 5_000


def dockerfile(text: str) -> None:
    read_dockerfile(text)


def packages(text: str) -> None:
    read_system_packages(text)


def version(text: str) -> None:
    find_python({VERSION_FILE: text}, BASE, field="files")


def project(text: str) -> None:
    find_python({PROJECT_FILE: text}, BASE, field="files")
    find_dependencies({PROJECT_FILE: text}, field="files")


def package(text: str) -> None:
    check_packages({PACKAGE_FILE: text}, field="files")


def refusal(read: Read, text: str) -> str:
    """Return why it is refused; nothing if it is read."""
    try:
        read(text)
    except Invalid as refused:
        return refused.detail
    return ""


GOOD: dict[Read, str] = {
    dockerfile: "ARG V=3\nFROM python:${V} AS b\nRUN a \\\n  b\nFROM b\nCOPY --from=0 /a /b\n",
    packages: "# tools\nffmpeg=7:5.1.6-0+deb12u1\n\ncurl\n",
    version: "# ours\n3.11.4\n",
    project: '[project]\nname = "x"\nrequires-python = ">=3.11,<4"\n[tool.a.b]\nc = [1, 2.5]\n',
    package: '{"name": "x", "dependencies": {}, "devDependencies": {"y": "^1"}}',
}
PIECES = [
    *(
        "[",
        "]",
        "{",
        "}",
        '"',
        "'",
        "\\",
        "\n",
        "$",
        "${",
        ",",
        ".",
        "=",
        "#",
        "<<",
        "\0",
        "\ufeff",
    ),
    *(
        DIGITS,
        "[" * 3_000,
        "{a=" * 3_000,
        "a." * 300,
        "9999-99-99",
        ">=3,",
        "===",
        "--from=",
        "FROM ",
    ),
]


@given(st.sampled_from(list(GOOD)), st.data())
@settings(max_examples=examples(400))
def test_whatever_is_in_a_file_it_is_read_or_refused(read: Read, data: st.DataObject) -> None:
    text = data.draw(mutated(GOOD[read].encode(), PIECES)).decode(errors="replace")

    assert len(refusal(read, text)) < 3_000


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (dockerfile, "".join(f"FROM scratch AS s{number}\n" for number in range(150_000))),
        (dockerfile, "".join(f"FROM scratch AS s{number}\n" for number in range(4_000))),
        (dockerfile, f"ARG A={'b' * 49_000}\nFROM {'$A' * 25_000}"),
        (dockerfile, f"ARG A={'b' * 90_000}\nFROM {'$A' * 400}"),
        (dockerfile, f"FROM scratch\nCOPY --from={DIGITS} a b"),
        (packages, "a-b\n" * 1_000_000),
        (version, f"3.{'1' * 4_000_000}"),
        (project, f"[project]\nrequires-python = '{'>=3,' * 1_000_000}'"),
        (project, f"[project]\nrequires-python = '{'>=3,' * 10_000}'"),
        (project, f"[project]\nrequires-python = '>=3.{DIGITS}'"),
        (project, f"a={'[' * 90_000}"),
        (project, f"a={DIGITS}"),
        (project, f"a{'.a' * 45_000}=1"),
        (project, "".join(f"b{number}{'.a' * 490}=1\n" for number in range(100))),
        (project, f"[{'a.' * 45_000}a]"),
        (package, f'{{"x":{"[" * 2_000_000}'),
        (package, f'{{"x":{DIGITS * 100}}}'),
    ],
    ids=lambda value: value.__name__ if callable(value) else f"{value[:20]!r} {len(value)}",
)
def test_a_file_made_to_take_long_does_not(read: Read, text: str) -> None:
    began = time.process_time()
    with holding_at_most(128):
        detail = refusal(read, text)

    assert len(detail) < 3_000
    assert time.process_time() - began < SECONDS
