"""Which uids sandboxes get, what they are built from, and the line that starts a program."""

from pathlib import Path

import pytest

from domain.errors import Invalid
from domain.limits import Limits
from workers.sandboxes.arguments import program_line
from workers.sandboxes.bases import find_base
from workers.sandboxes.namespaces import Paths, is_open
from workers.sandboxes.uids import HIGH, LOW, UidRange, range_for


@pytest.mark.parametrize(
    "text", ["", "5", "0-10", "10-10", "10-5", "a-b", "1-4294967295", "-1-5", "1-2-3", " 1-2"]
)
def test_a_range_with_root_in_it_or_no_range_at_all_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="ARGOSY_SANDBOX_UIDS"):
        UidRange.read(text)


def test_a_range_is_two_uids() -> None:
    assert UidRange.read("60578-61183") == LOW


def test_the_range_fits_the_uids_that_are_mapped() -> None:
    assert range_for("         0          0 4294967295\n") == HIGH
    assert range_for("         0     100000      65536\n") == LOW


def test_the_base_is_an_interpreter_every_sandbox_can_run() -> None:
    base = find_base()
    major, minor = map(int, base.version.split("."))

    assert (major, minor) >= (3, 11)
    assert base.tag == f"cp{major}{minor}"
    assert base.platform.startswith(("manylinux_", "linux_"))
    assert Path(base.python).is_file()
    assert any(Path(base.python).is_relative_to(layer.target) for layer in base.layers)


def test_a_moved_directory_is_found_by_its_path(tmp_path: Path) -> None:
    paths = Paths(((str(tmp_path), "/run/place"),))
    (tmp_path / "link").symlink_to(tmp_path / "data")

    assert paths.open_path(str(tmp_path / "data/x")) == "/run/place/data/x"
    assert paths.open_path(str(tmp_path / "link")) == "/run/place/data"
    assert paths.open_path(f"{tmp_path}-other") == f"{tmp_path}-other"


def test_open_means_for_every_uid(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "file").touch(mode=0o644)

    assert is_open(Path("/usr/bin/env"))
    assert not is_open(closed)
    assert not is_open(closed / "file")


def test_a_program_line_is_one_line_whatever_is_in_it() -> None:
    line = program_line(["printf", "a\nb'c"], {"A": "\n\n"}, None)

    assert line == (
        b"ulimit -c 0 && export A=''\"$1\"''\"$1\"'' && exec 'printf' 'a'\"$1\"'b'\\''c'\n"
    )


def test_nothing_runs_unless_each_of_its_limits_was_set() -> None:
    line = program_line(["true"], {}, Limits(memory_mb=64, pids=10)).decode()

    assert "ulimit -v 65536 && " in line
    assert "ulimit -p 11 || ulimit -u 11" in line
    assert line.endswith(" && exec 'true'\n")
