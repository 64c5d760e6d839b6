"""What sandboxes need of a machine: kernel, namespaces, control groups, uids, and one that opens.

The parts are looked at one by one so that each names its own cure; the sandbox that is opened at
the end is the proof.
"""

import asyncio
import os
import platform
import re
import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from adapters.scratch import scratch_directory
from adapters.settings import Settings
from domain.errors import ArgosyError, Invalid
from domain.limits import Limits
from workers.doctor.findings import Finding, broken, doubtful, good
from workers.sandboxes.bases import Base, find_base
from workers.sandboxes.cgroups import detect
from workers.sandboxes.container_engine import find_engine
from workers.sandboxes.driver import Driver, Exit, Mount, Output, SandboxUnsupported, Spec
from workers.sandboxes.drivers import find_bubblewrap
from workers.sandboxes.namespaces import Paths
from workers.sandboxes.syscalls import ARCHITECTURES
from workers.sandboxes.uids import SETTING, UidRange, range_for
from workers.workshops import driver_of

OLDEST_KERNEL = (5, 10)
FEW_FILES = 4096
SANDBOX_SECONDS = 15.0
SANDBOX = Limits(memory_mb=96, pids=16, disk_mb=8)
PROBE = "/opt/argosy-probe"
SAID = "argosy"

_SWITCHES = {
    "/proc/sys/user/max_user_namespaces": ("0", "user.max_user_namespaces=65536"),
    "/proc/sys/user/max_mnt_namespaces": ("0", "user.max_mnt_namespaces=65536"),
    "/proc/sys/user/max_net_namespaces": ("0", "user.max_net_namespaces=65536"),
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "kernel.unprivileged_userns_clone=1"),
}
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_SANDBOX_CURE = (
    "Mend what is named above first; docs/reference/sandboxes.md lists what a sandbox needs."
)


def look_at_machine(settings: Settings) -> Iterator[Finding]:
    """Yield findings that need no sandbox."""
    yield _kernel()
    if settings.sandbox_driver == "container":
        yield _open_files()
        yield _uids(settings)
        yield _engine(settings)
        return
    yield _namespaces()
    yield _open_files()
    yield _cgroups(settings)
    yield _uids(settings)
    try:
        yield good("bubblewrap", find_bubblewrap())
    except SandboxUnsupported as error:
        yield broken("bubblewrap", error.detail, "Install your distribution's bubblewrap.")


async def open_sandbox(settings: Settings, paths: Paths) -> list[Finding]:
    """Open a sandbox as a run's would be, and run the base interpreter in it."""
    try:
        base = find_base()
    except SandboxUnsupported as error:
        return [broken("interpreter", error.detail, "Install Python 3.11 or newer in /usr/bin.")]
    try:
        driver = driver_of(settings, paths)
        async with asyncio.timeout(SANDBOX_SECONDS):
            return await _try(driver, base, settings)
    except TimeoutError:
        detail = f"Nothing came of it within {SANDBOX_SECONDS:g} s."
        return [broken("sandbox", detail, _SANDBOX_CURE)]
    except ArgosyError as error:
        return [broken("sandbox", error.detail, _SANDBOX_CURE)]


async def _try(driver: Driver, base: Base, settings: Settings) -> list[Finding]:
    if not settings.data.is_dir():
        return await _run(driver, base, settings, ())
    with scratch_directory(settings.data / "results") as probe:
        probe.chmod(0o755)
        layer = Mount(str(probe.absolute()), PROBE)
        return await _run(driver, base, settings, (layer,))


async def _run(
    driver: Driver, base: Base, settings: Settings, layers: tuple[Mount, ...]
) -> list[Finding]:
    began = time.monotonic()
    spec = Spec(
        layers=(*base.layers, *layers),
        symlinks=base.symlinks,
        hidden=base.hidden,
        files=base.files,
        tmp_mb=8,
        limits=SANDBOX,
        scope=settings.limit_scope,
    )
    looks = f"import os; [os.listdir(path) for path in {[each.target for each in layers]}]"
    said = {"stdout": b"", "stderr": b""}
    ended = Exit(code=None)
    async with driver.open(spec) as sandbox:
        program = [base.python, "-I", "-S", "-c", f"{looks}; print({SAID!r})"]
        async for item in sandbox.run(program):
            match item:
                case Output(stream="stdout" | "stderr" as stream, data=data):
                    said[stream] += data
                case Exit():
                    ended = item
                case _:
                    pass
    seconds = time.monotonic() - began
    if ended.code == 0 and said["stdout"].strip() == SAID.encode():
        return [
            good("interpreter", f"Python {base.version}, {base.python}"),
            good("sandbox", f"opened, used and gone in {seconds * 1000:.0f} ms, uid {sandbox.uid}"),
        ]
    how = f"signal {ended.signal}" if ended.signal else f"exit code {ended.code}"
    words = said["stderr"].decode(errors="replace").strip().splitlines()
    return [
        broken(
            "interpreter",
            f"{base.python} does not run in a sandbox ({how}): {words[-1] if words else 'silence'}",
            "Every user must be able to read it, its library, and the data directory: "
            "`chmod -R o+rX` them, or install the distribution's python3.",
        )
    ]


def _kernel() -> Finding:
    release, machine = platform.release(), platform.machine()
    detail = f"{platform.system()} {release} on {machine}"
    if platform.system() != "Linux" or machine not in ARCHITECTURES:
        names = " or ".join(ARCHITECTURES)
        return broken("kernel", detail, f"Sandboxes need Linux on {names}; run workers there.")
    found = re.match(r"(\d+)\.(\d+)", release)
    if found and (int(found[1]), int(found[2])) < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        return doubtful("kernel", detail, f"Argosy is not tried on kernels before {oldest}.")
    return good("kernel", detail)


def _namespaces() -> Finding:
    for file, (closed, cure) in _SWITCHES.items():
        with suppress(OSError):
            if Path(file).read_text().strip() == closed:
                detail = f"{file} is {closed}: nobody here may make the namespaces of a sandbox."
                return broken("namespaces", detail, f"`sysctl -w {cure}`, and in /etc/sysctl.d.")
    with suppress(OSError):
        if _APPARMOR.read_text().strip() == "1":
            detail = "AppArmor lets only programs that have a profile for it make user namespaces."
            advice = (
                "If no sandbox opens below: give bwrap a profile with `userns`, "
                f"or `sysctl -w kernel.{_APPARMOR.name}=0`."
            )
            return doubtful("namespaces", detail, advice)
    return good("namespaces", "user namespaces can be made")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    detail = f"{soft} files may be open in a process, and {hard} where it asks for more"
    if 0 <= soft < FEW_FILES:
        advice = f"Every client and run takes some: `ulimit -n`, or LimitNOFILE, of {FEW_FILES}."
        return doubtful("open files", detail, advice)
    return good("open files", detail)


def _cgroups(settings: Settings) -> Finding:
    try:
        found = detect(settings.cgroups)
    except SandboxUnsupported as error:
        return broken("cgroups", error.detail, "Set ARGOSY_CGROUPS to `auto`.")
    if found is not None:
        return good("cgroups", f"{found.kind}; limits hold for a whole sandbox")
    detail = "there are no control groups that this process may use"
    if settings.limit_scope == "process":
        advice = "Memory is limited for each process by itself, and cpu is not. Fit for one person."
        return doubtful("cgroups", detail, advice)
    advice = (
        "Start workers as root, or by systemd with Delegate=yes; on a machine of your own, set "
        "ARGOSY_LIMIT_SCOPE=process."
    )
    return broken("cgroups", detail, advice)


def _engine(settings: Settings) -> Finding:
    try:
        engine = find_engine(settings.engine)
    except SandboxUnsupported as error:
        advice = (
            "Start the engine (`systemctl start podman.socket`, or docker), correct "
            "ARGOSY_ENGINE, or set ARGOSY_SANDBOX_DRIVER=bubblewrap."
        )
        return broken("engine", error.detail, advice)
    return good("engine", f"{engine.name} opens sandboxes in containers ({engine.url})")


def _uids(settings: Settings) -> Finding:
    uid = os.geteuid()
    if uid != 0:
        return good("uids", f"every sandbox runs as the user {uid} who starts the worker")
    uid_map = Path("/proc/self/uid_map").read_text()
    try:
        span = UidRange.read(settings.sandbox_uids) if settings.sandbox_uids else range_for(uid_map)
    except Invalid as error:
        return broken("uids", error.detail, f"Set {SETTING} to such a range, or to nothing.")
    name = f"{span.first}-{span.last}"
    if not _mapped(span, uid_map):
        detail = f"sandboxes would get the uids {name}, which this container does not have"
        advice = f"Map them into the container, or set {SETTING} to a range that it has."
        return broken("uids", detail, advice)
    if users := _users_in(span):
        detail = f"sandboxes get the uids {name}, which belong to {', '.join(users)} too"
        return doubtful("uids", detail, f"Set {SETTING} to a range that nobody else has.")
    return good("uids", f"sandboxes get a uid each, of {name}")


def _mapped(span: UidRange, uid_map: str) -> bool:
    spans = [[int(word) for word in line.split()] for line in uid_map.splitlines()]
    return any(inside <= span.first and span.last < inside + count for inside, _, count in spans)


def _users_in(span: UidRange) -> list[str]:
    """Return names of the machine's users whose uid is one of the range, at most five."""
    users: list[str] = []
    for line in Path("/etc/passwd").read_text(errors="replace").splitlines():
        name, *rest = line.split(":")
        if len(rest) > 1 and rest[1].isdecimal() and span.first <= int(rest[1]) <= span.last:
            users.append(name)
    return users[:5]
