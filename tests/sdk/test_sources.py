"""Reading a folder: text files by path, and a clear no to what cannot be sent."""

import os
import socket
from pathlib import Path

import pytest
from argosy import UnreadableSource
from argosy import sources as module
from argosy.sources import read_source, safe_name


def write(folder: Path, **files: str) -> Path:
    """Write files; `__` in a name is a slash, `_dot_` a dot."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_folder_becomes_files_by_path(tmp_path: Path) -> None:
    folder = write(tmp_path / "My Agent", agent_dot_py="print()", lib__tools_dot_py="x = 1")

    source = read_source(folder)

    assert source.name == "my-agent"
    assert source.files == {"agent.py": "print()", "lib/tools.py": "x = 1"}
    assert source.requirements == ""


def test_requirements_go_beside_the_files(tmp_path: Path) -> None:
    folder = write(tmp_path, agent_dot_py="", requirements_dot_txt="idna==3.10\n")

    source = read_source(folder)

    assert list(source.files) == ["agent.py"]
    assert source.requirements == "idna==3.10\n"


def test_what_is_not_source_stays_here(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        agent_dot_py="",
        _dot_env="SECRET=1",
        _dot_git__config="x",
        _dot_venv__lib_dot_py="x",
        env__pyvenv_dot_cfg="",
        env__lib_dot_py="x",
        __pycache____agent_dot_pyc="x",
        node_modules__a_dot_js="x",
        data__big_dot_csv="1",
        data__small_dot_txt="2",
        tests__test_dot_py="x",
        _dot_argosyignore="# not these\n*.csv\ntests/\n",
    )
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "agent.cpython-313.pyc").write_bytes(b"\xff")

    assert sorted(read_source(folder).files) == ["agent.py", "data/small.txt"]


def test_the_wish_for_a_python_is_sent(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for place in (tmp_path, tmp_path / "sub"):
        (place / ".python-version").write_text("3.13\n")
        (place / "agent.py").write_text("")

    assert set(read_source(tmp_path).files) == {".python-version", "agent.py", "sub/agent.py"}


def test_what_git_does_not_keep_stays_here(tmp_path: Path) -> None:
    """As git reads it, in every folder and above; `.argosyignore` has the last word."""
    write(tmp_path, _dot_git__HEAD="", _dot_gitignore="*.log\n!kept.log\n/agents/weather/notes/\n")
    folder = write(
        tmp_path / "agents" / "weather",
        agent_dot_py="",
        run_dot_log="x",
        kept_dot_log="1",
        notes__idea_dot_txt="x",
        data___dot_gitignore="*\n!small.txt\n",
        data__big_dot_txt="x",
        data__small_dot_txt="2",
        generated_dot_py="3",
        _dot_gitignore="generated.py\n/agent.pyi\n",
        _dot_argosyignore="!generated.py\n",
    )

    files = sorted(read_source(folder).files)

    assert files == ["agent.py", "data/small.txt", "generated.py", "kept.log"]


def test_a_folder_that_git_leaves_out_is_deployed_if_it_is_named(tmp_path: Path) -> None:
    write(tmp_path, _dot_git__HEAD="", _dot_gitignore="dist/\n")
    folder = write(tmp_path / "dist" / "agent", agent_dot_py="")

    assert sorted(read_source(folder).files) == ["agent.py"]


def test_one_file_is_a_source(tmp_path: Path) -> None:
    write(tmp_path, hello_dot_py="print('hello')")

    source = read_source(tmp_path / "hello.py")

    assert (source.name, source.files) == ("hello", {"hello.py": "print('hello')"})


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"text\0more", "ü".encode("latin-1")])
def test_a_binary_file_is_named(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, agent_dot_py="")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "logo.png").write_bytes(data)

    with pytest.raises(UnreadableSource, match=r"pictures/logo\.png: not a text file") as caught:
        read_source(tmp_path)

    assert caught.value.path == "pictures/logo.png"
    assert ".argosyignore" in caught.value.detail


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "agent", agent_dot_py="")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "notes.txt").symlink_to(tmp_path / "secret.txt")

    with pytest.raises(UnreadableSource, match=r"notes\.txt: the link leads out"):
        read_source(folder)


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "agent", agent_dot_py="")
    (folder / "loop").symlink_to(folder)

    with pytest.raises(UnreadableSource, match="loop: a link to a folder"):
        read_source(folder)


def test_what_the_disk_does_not_give_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "echo", agent_dot_py="")
    (folder / "loop").symlink_to("loop")

    with pytest.raises(UnreadableSource, match="loop: cannot be read: Too many levels"):
        read_source(folder)


def test_a_link_within_the_folder_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path, agent_dot_py="x")
    (folder / "main.py").symlink_to(folder / "agent.py")

    assert read_source(folder).files == {"agent.py": "x", "main.py": "x"}


def test_what_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path, agent_dot_py=""))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("pipe")

        with pytest.raises(UnreadableSource, match="pipe: not a file"):
            read_source(tmp_path)


def test_too_much_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    write(tmp_path, **{f"f{n}_dot_py": "" for n in range(4)})

    with pytest.raises(UnreadableSource, match="more than 3 files"):
        read_source(tmp_path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.txt").open("wb") as file:
        os.truncate(file.fileno(), 1_000_000_000_000)

    with pytest.raises(UnreadableSource, match="9 MB"):
        read_source(tmp_path)


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_nothing_to_deploy_is_said(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(UnreadableSource, match="there is no"):
        read_source(tmp_path / folder)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("echo", "echo"),
        ("My Agent_2", "my-agent-2"),
        ("Bücher", "bucher"),
        ("--x--", "x"),
        ("a" * 62 + "-b", "a" * 62),
        ("日本", ""),
    ],
)
def test_names_are_made_safe(text: str, name: str) -> None:
    assert safe_name(text) == name
