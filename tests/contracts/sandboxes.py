"""What the sandbox contract tests share: a driver on each back end, and proof that it tidies up."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from domain.limits import Limits
from tests.conftest import require
from tests.containers.serving import engine_url
from workers.sandboxes import cgroups, launches
from workers.sandboxes.bases import Base, find_base
from workers.sandboxes.bubblewrap import BubblewrapDriver
from workers.sandboxes.container import PLACE, ContainerDriver
from workers.sandboxes.container_engine import Engine, find_engine
from workers.sandboxes.container_opened import ContainerSandbox
from workers.sandboxes.driver import Exit, Output, Sandbox, SandboxUnsupported, Spec
from workers.sandboxes.drivers import find_bubblewrap
from workers.sandboxes.groups import Cgroups
from workers.sandboxes.namespaces import Paths
from workers.sandboxes.opened import BubblewrapSandbox
from workers.sandboxes.owners import Owner
from workers.sandboxes.processes import members
from workers.sandboxes.uids import UidRange, Uids

BACKENDS = os.environ.get("ARGOSY_TEST_BACKENDS", "cgroups,none,container").split(",")
MEMORY_MB = 96
DISK_MB = 16
OUR_MOUNTS = ("argosy-sandbox", "/newroot", "/oldroot", "bindfile")
TMP_MB = 8
UIDS = UidRange(1_900_100_000, 1_900_100_999)
# On a processor that is only imitated everything takes its time; see tests/vm.
PATIENCE = float(os.environ.get("ARGOSY_TEST_PATIENCE", "1"))
SECONDS = 20 * PATIENCE

# Evaluates each expression of a JSON table and prints how it went, as errno's name or "allowed".
ATTEMPTS = """
import ctypes, errno, json, os, signal, socket, struct, sys
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    if libc.syscall(number, *args) < 0:
        raise OSError(ctypes.get_errno(), "")
def grow(path, size=1 << 30):
    with open(path, "wb") as file:
        for _ in range(size >> 16):
            file.write(bytes(65536))
def verdict(expression):
    try:
        value = eval(expression)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    except ValueError as error:
        return str(error)
    return f"allowed: {value!r}"
print(json.dumps({name: verdict(text) for name, text in json.load(sys.stdin).items()}))
"""


type Opened = BubblewrapSandbox | ContainerSandbox


class Outcome(Struct):
    """All that came out of one program."""

    stdout: bytes
    stderr: bytes
    channel: bytes
    exit: Exit


class Machine:
    """A driver on one back end, and what it has in use."""

    def __init__(
        self, driver: BubblewrapDriver | ContainerDriver, groups: Cgroups | None = None
    ) -> None:
        self.driver = driver
        self.groups = groups
        self.base = base()

    @property
    def limits_hold_for_all(self) -> bool:
        """Whether limits are those of the sandbox, and not of each process."""
        return self.driver.scope == "sandbox"

    @property
    def engine(self) -> bool:
        """Whether a container engine does it, which is slower and shows a few things of its own."""
        return isinstance(self.driver, ContainerDriver)

    @property
    def own(self) -> int:
        """How many processes of a sandbox are the driver's."""
        return 2 if self.engine else 1

    def uid_inside(self, sandbox: Sandbox) -> int:
        """Who a program is, as it sees it."""
        return sandbox.uid if self.engine else 1000

    async def run(
        self, code: str, *, argv: list[str] | None = None, stdin: bytes = b"", **changes: Any
    ) -> Outcome:
        """One Python program (or `argv`) in a sandbox of its own."""
        async with self.driver.open(spec(**changes)) as sandbox, asyncio.timeout(SECONDS):
            return await outcome(sandbox.run(argv or self.python(code), stdin=stdin))

    async def attempt(self, attempts: dict[str, str], **changes: Any) -> dict[str, str]:
        """How each expression fares in one sandbox: the name of an errno, or what it came to."""
        stdin = json.dumps(attempts).encode()
        done = await self.run(ATTEMPTS, stdin=stdin, **changes)
        assert done.exit.code == 0, done
        return json.loads(done.stdout)

    def members(self, sandbox: Opened) -> list[int]:
        """The host's pids of what runs in a sandbox, the driver's own processes left out."""
        return [pid for pid in members(sandbox.inside) if not _is_drivers(pid, sandbox.id)]

    def python(self, code: str) -> list[str]:
        return [self.base.python, "-I", "-S", "-c", code]


@contextmanager
def machine(backend: str, program: str | None = None) -> Generator[Machine]:
    """A driver with that back end, and that bubblewrap if one is given.

    Afterwards nothing of its sandboxes may be left anywhere.
    """
    if backend == "container":
        with _containers() as found:
            yield found
        return
    groups = cgroups.detect()
    if backend == "none":
        groups = None
    elif groups is None:
        require("cgroups", "none may be made here")
    uids = Uids(UIDS) if os.geteuid() == 0 else None
    launches.filter_file()  # made once for all sandboxes
    before = _held()
    driver = BubblewrapDriver(program or bubblewrap(), cgroups=groups, uids=uids, paths=Paths())
    yield Machine(driver, groups)
    if remains := _remains(groups):
        raise AssertionError(f"left running: {remains}")
    if (after := _held()) != before:
        raise AssertionError(f"left behind: {before} became {after}")
    if uids is not None:
        assert not uids.taken
        uids.close()


@contextmanager
def _containers() -> Generator[Machine]:
    engine = find_engine(engine_url())
    uids = Uids(UIDS)
    driver = ContainerDriver(engine, uids=uids)
    before = _held()
    yield Machine(driver)
    if left := containers_left(engine):
        raise AssertionError(f"left: {left}")
    end = time.monotonic() + SECONDS
    while remains := _remains(None):  # the engine's own monitors end a moment later
        if time.monotonic() > end:
            raise AssertionError(f"left running: {remains}")
        time.sleep(0.02)
    if (after := _held()) != before:
        raise AssertionError(f"left behind: {before} became {after}")
    assert not uids.taken
    uids.close()


def containers_left(engine: Engine) -> list[str]:
    path = engine.url.removeprefix("unix://")
    with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as client:
        answer = client.get("http://engine/v1.41/containers/json", params={"all": "true"})
    return [each["Names"][0] for each in answer.json()]


def _is_drivers(pid: int, name: str) -> bool:
    try:
        return name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def spec(**changes: Any) -> Spec:
    """The base environment under small limits, each of which may be given by its name."""
    limited = {"memory_mb": MEMORY_MB, "pids": 64, "disk_mb": DISK_MB}
    limited |= {name: changes.pop(name) for name in Limits.__struct_fields__ if name in changes}
    found = base()
    fields: dict[str, Any] = {
        "layers": found.layers,
        "symlinks": found.symlinks,
        "hidden": found.hidden,
        "files": found.files,
        "limits": Limits(**limited),
        "tmp_mb": TMP_MB,
        "scope": "process",
    }
    return Spec(**{**fields, **changes})


def base() -> Base:
    return find_base()


def bubblewrap() -> str:
    try:
        return find_bubblewrap()
    except SandboxUnsupported as error:
        require("bwrap", str(error))
        raise


async def outcome(items: AsyncIterable[Output | Exit]) -> Outcome:
    """Read a run to its end. Exactly one Exit must come, and nothing after it."""
    said = {"stdout": b"", "stderr": b"", "channel": b""}
    ends: list[Exit] = []
    async for item in items:
        assert not ends
        if isinstance(item, Exit):
            ends.append(item)
        else:
            said[item.stream] += item.data
    assert len(ends) == 1
    return Outcome(**said, exit=ends[0])


def _held() -> tuple[list[str], list[str], list[str]]:
    """Our descriptors, our mounts and the places where a driver could have left files."""
    descriptors: list[str] = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            descriptors.append(str(entry.readlink()))
    places = [str(p) for d in ("/run", "/dev/shm", "/tmp") for p in Path(d).glob("argosy-sandbox*")]
    ours = Owner.current().name_sandbox().rpartition("-")[0]
    places += [str(path) for path in PLACE.glob(f"{ours}-*")]
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    # Others mount, too, container engines for one.
    mounts = [line for line in lines if any(word in line for word in OUR_MOUNTS)]
    kinds = sorted(d for d in descriptors if not d.startswith("/proc/"))
    return kinds, mounts, sorted(places)


def _remains(groups: Cgroups | None) -> list[str]:
    """Processes and control groups of sandboxes of ours, and children nobody waited for."""
    ours = Owner.current().name_sandbox().rpartition("-")[0]
    remains = [name for name in (groups.names() if groups else ()) if name.startswith(ours)]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            status = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            command = (entry / "cmdline").read_text(errors="replace")
            if ours in command or (int(status[1]) == os.getpid() and status[0] == "Z"):
                remains.append(f"{entry.name} {status[0]} {command}")
    return remains


def reachable(path: Path) -> Path:
    """Let every uid pass through a test's directory, as through a data directory's."""
    for directory in (path, *path.parents):
        if directory.stat().st_uid == os.geteuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o055)
    return path
