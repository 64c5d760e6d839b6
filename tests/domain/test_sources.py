"""What is checked of a source while its deploy waits."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.sources import (
    ENTRY_POINTS,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_PATH_LENGTH,
    check_files,
    check_name,
    check_syntax,
    find_entry_point,
    holds_no_code,
)

PYTHON = (3, 11)


@pytest.mark.parametrize("name", ["a", "echo", "a-b", "0", "a" * 63, "x--y"])
def test_names_are_dns_labels(name: str) -> None:
    assert check_name(name, field="name") == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a.b", "é", "a" * 64, "a\n", " a"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(Invalid) as refusal:
        check_name(name, field="slug")

    assert refusal.value.field == "slug"
    assert repr(name) in refusal.value.detail


def test_paths_are_normalised() -> None:
    files = {"./agent.py": "a", "src//tools.py": "b", "data/é.txt": "c"}

    assert check_files(files) == {"agent.py": "a", "src/tools.py": "b", "data/é.txt": "c"}


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "is empty"),
        (".", "is empty"),
        ("/etc/passwd", "is absolute"),
        ("../up.py", "leaves the tree"),
        ("src/../../up.py", "leaves the tree"),
        ("src\\tools.py", "has a backslash"),
        ("a\x00b", "has a control character"),
        ("a\nb", "has a control character"),
        ("folder/", "names a folder"),
        ("a" * (MAX_PATH_LENGTH + 1), "is longer than 512 characters"),
    ],
)
def test_paths_that_could_leave_the_tree_are_refused(path: str, problem: str) -> None:
    with pytest.raises(Invalid) as refusal:
        check_files({"agent.py": "", path: ""})

    assert problem in refusal.value.detail
    assert refusal.value.field == f"source_files.{path}"[:200]


@given(st.text(max_size=40))
def test_what_is_accepted_stays_inside(path: str) -> None:
    try:
        [normal] = check_files({path: ""})
    except Invalid:
        return

    assert not normal.startswith("/")
    assert ".." not in normal.split("/")
    assert normal.encode()


def test_two_paths_may_not_be_one_file() -> None:
    with pytest.raises(Invalid, match=r"'\./a\.py' is there twice"):
        check_files({"a.py": "", "./a.py": ""})


def test_a_file_is_not_a_folder() -> None:
    with pytest.raises(Invalid, match="src is a file and a folder"):
        check_files({"src": "", "src/a.py": ""})


def test_text_has_to_be_utf_8() -> None:
    with pytest.raises(Invalid, match="lone surrogate at character 1") as refusal:
        check_files({"a.py": "x\ud800"}, field="source.files")

    assert refusal.value.field == "source.files.a.py"


def test_sizes_have_limits() -> None:
    large = "x" * MAX_FILE_BYTES

    with pytest.raises(Invalid, match=r"a\.py is 5000001 bytes; 5000000 are allowed"):
        check_files({"a.py": large + "x"})
    with pytest.raises(Invalid, match="source_files is 10000000 bytes; 9000000 are allowed"):
        check_files({"a.py": large, "b.py": large})
    with pytest.raises(Invalid, match="has 2001 files; 2000 are allowed"):
        check_files({f"{number}.py": "" for number in range(MAX_FILES + 1)})


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("run.py", "run.py"),
        ("run", "run.py"),
        ("./run.py", "run.py"),
        ("./src/tools.py", "src/tools.py"),
        ("src.tools", "src/tools.py"),
        ("src/tools", "src/tools.py"),
        ("pack", "pack/__init__.py"),
    ],
)
def test_an_entry_point_is_a_file_or_a_module(wanted: str, found: str) -> None:
    files = {"agent.py": "", "run.py": "", "src/tools.py": "", "pack/__init__.py": ""}

    assert find_entry_point(files, wanted) == found


def test_an_entry_point_that_is_not_there_is_refused() -> None:
    with pytest.raises(Invalid, match=r"'run\.py' is not among the files: agent\.py") as refusal:
        find_entry_point({"agent.py": ""}, "run.py", field="source.entry_point")

    assert refusal.value.field == "source.entry_point"


def test_entry_points_are_looked_for_in_order() -> None:
    files: dict[str, str] = dict.fromkeys(ENTRY_POINTS, "")
    for path in ENTRY_POINTS:
        assert find_entry_point(files, "") == path
        del files[path]


def test_a_single_script_is_the_entry_point() -> None:
    assert find_entry_point({"greet.py": "", "src/x.py": "", "notes.txt": ""}, "") == "greet.py"


@pytest.mark.parametrize(
    ("files", "field"),
    [
        ({"a.py": "", "b.py": ""}, "entry_point"),
        ({"notes.txt": ""}, "source_files"),
        ({}, "source_files"),
    ],
)
def test_a_missing_entry_point_is_refused(files: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid, match="There is no entry point") as refusal:
        find_entry_point(files, "")

    assert refusal.value.field == field


@pytest.mark.parametrize(
    "text",
    [
        "def handler(request):\n    return 1\n",
        "\ufeffprint('with a byte order mark')\n",
        "pattern = '\\d'  # only a warning\n",
        "async def f():\n    await g()\n",
        "match 1:\n    case _: pass\n",
        "",
    ],
)
def test_what_compiles_is_accepted(text: str) -> None:
    check_syntax({"agent.py": text}, PYTHON)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("def handler(:\n", 1, 13),
        ("x = 1\nreturn x\n", 2, 1),
        ("x = 1\n  y = 2\n", 2, 2),
        ("type X = int\n", 1, 1),  # newer than the base's Python
        ("print('\x00')", 1, 1),
    ],
)
def test_what_does_not_compile_is_refused_with_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(Invalid) as refusal:
        check_syntax({"notes.txt": "def (", "src/agent.py": text}, PYTHON)

    members: dict[str, Any] = refusal.value.members
    assert members["field"] == "source_files.src/agent.py"
    assert members["file"] == "src/agent.py"
    assert members["line"] == line
    assert members["column"] == column or text.startswith("type")
    assert refusal.value.detail.startswith(f"src/agent.py, line {line}, column")


@pytest.mark.parametrize(
    "text", ["(" * 5000 + ")" * 5000, "-" * 100_000 + "1", "x" + ".y" * 50_000]
)
def test_absurd_nesting_is_refused_not_fatal(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        check_syntax({"agent.py": text}, PYTHON)

    assert refusal.value.members["file"] == "agent.py"


@given(st.text(max_size=60))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    line: Any = 1
    try:
        check_syntax({"agent.py": text}, PYTHON)
    except Invalid as refusal:
        line = refusal.members["line"]

    assert line >= 1


@pytest.mark.parametrize(
    ("paths", "without_code"),
    [
        (
            ["README", "prompts/system.md", "requirements.txt", "data/cities.json", ".gitignore"],
            True,
        ),
        (["prompt.md", "agent.py"], False),
        (["prompt.md", "lib/tools.py"], False),
        (["prompt.md", "index.js"], False),
        (["prompt.md", "Dockerfile"], False),
        (["prompt.md", "run"], False),
    ],
)
def test_what_could_be_meant_to_run_is_code(paths: list[str], *, without_code: bool) -> None:
    assert holds_no_code(dict.fromkeys(paths, "x")) == without_code


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["agent.js", "agent.mjs", "lib.js"], "agent.mjs"),
        (["index.js", "lib.js"], "index.js"),
        (["index.js", "bot.py"], "bot.py"),
        (["index.js", "main.py"], "main.py"),
    ],
)
def test_javascript_is_found_where_there_is_no_python(files: list[str], found: str) -> None:
    assert find_entry_point(dict.fromkeys(files, ""), "") == found
