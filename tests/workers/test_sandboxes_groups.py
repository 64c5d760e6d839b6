"""Control groups of version 2 by what is written where, on a tree of plain files."""

import os
from pathlib import Path

import pytest

from domain.limits import Limits
from workers.sandboxes.driver import SandboxUnsupported
from workers.sandboxes.groups import Usage, make_group, remove, try_to_remove
from workers.sandboxes.groups_v2 import OWNERS_LEAF, V2Cgroups, find_v2
from workers.sandboxes.owners import Owner

LIMITS = Limits(memory_mb=64, cpu=0.5, pids=10)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A machine's top group with all controllers handed down, and one service below it."""
    for group in (tmp_path, tmp_path / "system.slice/argosy.service"):
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        (group / "cgroup.subtree_control").write_text("cpu memory pids\n")
        (group / "cgroup.procs").write_text("")
    return tmp_path


def test_limits_are_written_for_the_whole_group(tmp_path: Path) -> None:
    group = make_group(V2Cgroups(tmp_path), "one", LIMITS)
    written = {path.name: path.read_text() for path in (tmp_path / "one").iterdir()}

    assert group.directories == (tmp_path / "one",)
    assert written == {
        "memory.max": str(64 << 20),
        "memory.oom.group": "1",
        "memory.swap.max": "0",
        "pids.max": "12",
        "cpu.max": "50000 100000",
    }


def test_processes_are_moved_thawed_and_killed_by_the_kernels_files(tmp_path: Path) -> None:
    group = make_group(V2Cgroups(tmp_path), "one", LIMITS)
    group.admit([41, 42])
    group.thaw()
    group.kill()

    assert (tmp_path / "one/cgroup.procs").read_text() == "42"
    assert (tmp_path / "one/cgroup.freeze").read_text() == "0"
    assert (tmp_path / "one/cgroup.kill").read_text() == "1"


async def test_freezing_waits_for_the_kernel_to_say_so(tmp_path: Path) -> None:
    group = make_group(V2Cgroups(tmp_path), "one", LIMITS)
    (tmp_path / "one/cgroup.events").write_text("populated 1\nfrozen 1\n")
    await group.freeze()

    assert (tmp_path / "one/cgroup.freeze").read_text() == "1"


def test_usage_is_read_from_the_groups_files(tmp_path: Path) -> None:
    group = make_group(V2Cgroups(tmp_path), "one", LIMITS)
    (tmp_path / "one/cpu.stat").write_text("usage_usec 1500000\nuser_usec 1000000\n")
    (tmp_path / "one/memory.events").write_text("low 0\noom 1\noom_kill 2\n")

    assert group.usage() == Usage(peak_memory_mb=None, cpu_seconds=1.5, memory_kills=2)
    (tmp_path / "one/memory.peak").write_text(str(10 << 20))
    assert group.usage().peak_memory_mb == 10


def test_a_group_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnsupported, match="control group"):
        make_group(V2Cgroups(tmp_path / "missing"), "one", LIMITS)


async def test_removing_goes_on_until_nothing_is_in_the_way(tmp_path: Path) -> None:
    group = V2Cgroups(tmp_path).find("one")
    (tmp_path / "one").mkdir()
    blocking = tmp_path / "one/busy"
    blocking.touch()

    assert not try_to_remove(group)
    blocking.unlink()
    await remove(group)
    assert not (tmp_path / "one").exists()


def test_only_sandboxes_are_found(tmp_path: Path) -> None:
    name = Owner.current().name_sandbox()
    for directory in (name, OWNERS_LEAF, "system.slice"):
        (tmp_path / directory).mkdir()

    assert V2Cgroups(tmp_path).names() == {name}


@pytest.mark.skipif(os.geteuid() != 0, reason="the top is root's")
def test_root_makes_groups_at_the_top(tree: Path) -> None:
    found = find_v2(tree, "/system.slice/argosy.service")

    assert found is not None
    assert found.base == tree


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to mark a directory")
def test_a_group_that_was_handed_over_is_used(tree: Path) -> None:
    service = tree / "system.slice/argosy.service"
    os.setxattr(service, "trusted.delegate", b"1")

    for own in (service, service / OWNERS_LEAF):
        found = find_v2(tree, f"/{own.relative_to(tree)}")
        assert found is not None
        assert found.base == service


def test_a_group_without_the_controllers_is_of_no_use(tree: Path) -> None:
    for group in (tree, tree / "system.slice/argosy.service"):
        (group / "cgroup.controllers").write_text("cpuset\n")

    assert find_v2(tree, "/system.slice/argosy.service") is None


def test_controllers_are_handed_down_when_they_are_not_yet(tree: Path) -> None:
    for group in (tree, tree / "system.slice/argosy.service"):
        (group / "cgroup.subtree_control").write_text("")
    found = find_v2(tree, "/system.slice/argosy.service")

    assert found is not None
    assert (found.base / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
