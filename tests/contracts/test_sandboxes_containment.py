"""Contract of the driver's walls: real attempts to see, touch and leave, each of which fails."""

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.sandboxes import BACKENDS, Machine, machine, outcome, reachable, spec
from workers.sandboxes.driver import Mount
from workers.sandboxes.syscalls import ARCHITECTURES, REFUSED, Architecture

SECRET = "argosy-test-secret-3f9a"
ENGINES_PLACES = {"/var", "/sys", "/run", "/.dockerenv"}
ENGINES_FILES = {"hostname", "mtab", "resolv.conf"}


@pytest.fixture(params=BACKENDS)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    with machine(request.param) as found:
        yield found


async def test_no_file_of_the_host_is_there(here: Machine, tmp_path: Path) -> None:
    (tmp_path / "private").write_text(SECRET)
    code = """
import os
top = sorted(os.listdir("/"))
etc = sorted(os.listdir("/etc"))
print(top, etc, [os.listdir(d) for d in ("/tmp", "/work", "/dev/shm", "/usr/local")])
print([p for p in (%r, "/root", "/home", "/var", "/sys", "/run", "/boot") if os.path.exists(p)])
print([file for p in ("/var", "/sys", "/run") for _, _, files in os.walk(p) for file in files])
"""
    done = await here.run(code % str(tmp_path / "private"))

    top, empty, found = done.stdout.decode().partition(" [[], [], [], []]\n")
    assert empty, top
    there, files = map(eval, found.splitlines())
    # Engines make some places, all of them empty but for the pipes to the driver.
    assert set(there) <= (ENGINES_PLACES if here.engine else set())
    assert set(files) == ({"stdout", "stderr", "status", "hold"} if here.engine else set())
    etc = set(eval("[" + top.partition("] [")[2]))
    assert etc - (ENGINES_FILES if here.engine else set()) == {
        "group", "hosts", "nsswitch.conf", "passwd",
    }  # fmt: skip
    names = {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin"}
    engines = {place.lstrip("/") for place in ENGINES_PLACES} if here.engine else set[str]()
    assert set(eval(top.partition("] [")[0] + "]")) <= names | {"tmp", "usr", "work"} | engines


async def test_nothing_of_the_workers_environment_or_command_line_is_seen(
    here: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by way of any process, bubblewrap's pid 1 included; nor is what other programs got."""
    monkeypatch.setenv("ARGOSY_TEST_SECRET", SECRET)
    code = """
from pathlib import Path
import os
for process in Path("/proc").iterdir():
    if process.name.isdigit():
        for part in ("environ", "cmdline"):
            try:
                print(process.name, part, (process / part).read_bytes())
            except OSError as error:
                print(process.name, part, error)
"""
    done = await here.run(code, environment={"OWN": "own-secret-77"})

    assert SECRET.encode() not in done.stdout
    assert b"1 environ b''" in done.stdout
    assert done.stdout.count(b"own-secret-77") == 1  # in the program's own environment


async def test_a_secret_is_on_no_command_line_of_the_host(here: Machine) -> None:
    code = "print('up', flush=True); input()"
    async with here.driver.open(spec(environment={"TOKEN": SECRET})) as sandbox:
        run = sandbox.run(here.python(code), keep_stdin=True)
        await anext(run)
        seen = await asyncio.to_thread(_command_lines)
        await sandbox.close_stdin()
        await outcome(run)

    assert sandbox.id.encode() in seen
    assert SECRET.encode() not in seen


async def test_no_descriptor_of_the_worker_is_inherited(here: Machine, tmp_path: Path) -> None:
    """Not even one that was made inheritable by mistake."""
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        done = await here.run("import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))")

    assert done.stdout == b"[0, 1, 2, 3]\n"  # 3 is the listing's own


async def test_everything_runs_without_root_and_without_capabilities(here: Machine) -> None:
    code = """
from pathlib import Path
for pid in ("1", "self"):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.split(":")[0] in ("Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
                                  "NoNewPrivs", "Seccomp"):
            print(*line.split())
"""
    async with here.driver.open(spec()) as sandbox:
        uid, inside = sandbox.uid, here.uid_inside(sandbox)
        done = await outcome(sandbox.run(here.python(code)))

    assert uid != 0
    assert set(done.stdout.decode().splitlines()) == {
        f"Uid: {inside} {inside} {inside} {inside}",
        f"Gid: {inside} {inside} {inside} {inside}",
        *(f"Cap{which}: 0000000000000000" for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")),
        "NoNewPrivs: 1",
        "Seccomp: 2",
    }


async def test_what_is_shown_cannot_be_written(here: Machine, tmp_path: Path) -> None:
    """Layers, the interpreter, the root and the kernel's settings; layers opened to all, too."""
    layer = reachable(tmp_path) / "layer"
    layer.mkdir()
    (layer / "file").write_text("as it was")
    (layer / "file").chmod(0o666)
    layer.chmod(0o777)
    found = await here.attempt(
        {
            **{
                path: f"os.close(os.open({path!r}, os.O_WRONLY))"
                for path in (
                    "/layer/file",
                    "/etc/passwd",
                    "/proc/sys/kernel/core_pattern",
                    "/proc/sys/kernel/hostname",
                    "/proc/sys/vm/drop_caches",
                    "/proc/sys/kernel/panic",
                    "/proc/sysrq-trigger",
                )
            },
            "create": "Path('/layer/new').touch()",
            "remove": "Path('/layer/file').unlink()",
            "root": "Path('/new').touch()",
            "usr": "Path('/usr/bin/new').touch()",
            "dev": "Path('/dev/new').touch()",
            "mode": "os.chmod('/layer/file', 0o777)",
        },
        layers=(*here.base.layers, Mount(str(layer), "/layer")),
    )

    refusals = ("EACCES", "EROFS", "EPERM", "ENOENT")  # some kernels have no sysrq
    assert {name for name, how in found.items() if how not in refusals} == set()
    assert found["/layer/file"] == found["create"] == found["root"] == "EROFS"
    assert found["dev"] == ("EACCES" if here.engine else "EROFS")  # it is root's
    assert (layer / "file").read_text() == "as it was"
    assert [path.name for path in layer.iterdir()] == ["file"]


async def test_there_is_no_device_but_the_harmless_ones(here: Machine) -> None:
    done = await here.run("import os; print(sorted(os.listdir('/dev')))")
    made = await here.attempt(
        {"block": "os.mknod('/work/disk', 0o60666, os.makedev(8, 0))",
         "character": "os.mknod('/work/mem', 0o20666, os.makedev(1, 1))"}
    )  # fmt: skip

    devices = {"full", "null", "random", "tty", "urandom", "zero", "ptmx", "pts", "shm", "console"}
    links = {"core", "fd", "stderr", "stdin", "stdout"}
    empty = {"mqueue"} if here.engine else set[str]()
    assert set(eval(done.stdout)) <= devices | links | empty
    assert set(made.values()) == {"EPERM"}


async def test_there_is_no_network(here: Machine) -> None:
    """Neither the host's loopback, nor its abstract sockets, nor anything beyond."""
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        abstract.bind("\0argosy-test-abstract")
        abstract.listen()
        port = tcp.getsockname()[1]
        found = await here.attempt(
            {
                "loopback": f"socket.create_connection(('127.0.0.1', {port}), 2)",
                "abstract": r"socket.socket(socket.AF_UNIX).connect('\0argosy-test-abstract')",
                "beyond": "socket.create_connection(('1.1.1.1', 53), 2)",
                "metadata": "socket.create_connection(('169.254.169.254', 80), 2)",
                "beyond6": "socket.create_connection(('2606:4700:4700::1111', 53), 2)",
                "interfaces": "[name for _, name in socket.if_nameindex()]",
            }
        )

    assert found.pop("interfaces") == "allowed: ['lo']"
    assert found.pop("loopback") == found.pop("abstract") == "ECONNREFUSED"
    if found["beyond6"] == "EADDRNOTAVAIL" and here.engine:  # Docker turns version 6 off
        del found["beyond6"]
    assert set(found.values()) == {"ENETUNREACH"}


async def test_only_plain_kinds_of_sockets_exist(here: Machine) -> None:
    """No namespace holds AF_VSOCK, which reaches the hypervisor: the filter must."""
    found = await here.attempt(
        {
            "vsock": "socket.socket(40, socket.SOCK_STREAM)",
            "packet": "socket.socket(17, socket.SOCK_RAW)",
            "algorithm": "socket.socket(38, socket.SOCK_SEQPACKET)",
            "bluetooth": "socket.socket(31, socket.SOCK_RAW)",
            "xdp": "socket.socket(44, socket.SOCK_RAW)",
            "raw": "socket.socket(2, socket.SOCK_RAW, 1)",
            "raw6": "socket.socket(10, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 58)",
            "netfilter": "socket.socket(16, socket.SOCK_RAW, 12)",
            "pair": "socket.socketpair(30)",
        }
    )
    plain = await here.attempt(
        {
            "sctp": "socket.socket(2, socket.SOCK_STREAM, 132)",
            "tcp": "socket.socket().close()",
            "udp": "socket.socket(10, socket.SOCK_DGRAM).close()",
            "unix": "[one.close() for one in socket.socketpair()]",
            "addresses": "socket.getaddrinfo('localhost', 80) and 1",
        }
    )

    assert set(found.values()) == {"EPERM"}, found
    assert plain.pop("sctp") == "EPROTONOSUPPORT"
    assert {how.partition(":")[0] for how in plain.values()} == {"allowed"}, plain


async def test_no_process_outside_can_be_touched(here: Machine) -> None:
    """Nor seen: pids are those of the sandbox. Nor can its own pid 1 be taken over."""
    victim = await asyncio.create_subprocess_exec("/bin/sleep", "60")
    try:
        found = await here.attempt(
            {
                "kill": f"os.kill({victim.pid}, 9)",
                "worker": f"os.kill({os.getpid()}, 0)",
                "ptrace": f"call({_number('ptrace')}, 16, 1, 0, 0)",
                "memory": f"call({_number('process_vm_readv')}, 1, 0, 0, 0, 0, 0)",
                "pids": "sorted(int(e.name) for e in Path('/proc').iterdir() if e.name.isdigit())",
                "priority": f"os.setpriority(os.PRIO_PROCESS, {victim.pid}, 19)",
            }
        )
        assert victim.returncode is None
    finally:
        victim.kill()
        await victim.wait()

    pids = eval(found.pop("pids").removeprefix("allowed: "))
    assert (pids[0], len(pids)) == (1, here.own + 1)
    assert found == {
        "kill": "ESRCH", "worker": "ESRCH", "priority": "ESRCH",
        "ptrace": "EPERM", "memory": "EPERM",
    }  # fmt: skip


async def test_no_namespace_or_mount_can_be_made(here: Machine) -> None:
    clone, clone3 = _machine().clone, _machine().clone3
    flags = {"mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000,
             "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000}  # fmt: skip
    found = await here.attempt(
        {
            **{
                f"clone {n}": f"call({clone}, {flag | 17}, 0, 0, 0, 0)" for n, flag in flags.items()
            },
            **{f"unshare {n}": f"call({_number('unshare')}, {flag})" for n, flag in flags.items()},
            "setns": f"call({_number('setns')}, os.open('/proc/1/ns/user', os.O_RDONLY), 0)",
            "mount": f"call({_number('mount')}, b'x', b'/tmp', b'tmpfs', 0, 0)",
            "remount": f"call({_number('mount')}, 0, b'/', 0, 0x20, 0)",
            "umount": f"call({_number('umount2')}, b'/proc/sys', 2)",
            "chroot": "os.chroot('/tmp')",
        }
    )
    new_clone = await here.attempt({"clone3": f"call({clone3}, 0, 0)"})

    assert set(found.values()) == {"EPERM"}, found
    assert new_clone == {"clone3": "ENOSYS"}


async def test_identity_cannot_be_changed(here: Machine) -> None:
    """There is no uid to become; what NoNewPrivs means for setuid programs is the kernel's."""
    found = await here.attempt(
        {
            "setuid": "os.setuid(0)",
            "setgid": "os.setgid(0)",
            "groups": "os.setgroups([0])",
            "raise": "__import__('resource').setrlimit(4, (1 << 30, 1 << 30))",  # RLIMIT_CORE
        }
    )

    assert found.pop("raise") == "not allowed to raise maximum limit"
    assert set(found.values()) <= {"EPERM", "EINVAL"}, found


async def test_every_refused_call_says_so(here: Machine) -> None:
    """All in one sandbox: with arguments that would fail otherwise (EFAULT, EBADF, EINVAL…)."""
    column = list(ARCHITECTURES).index(os.uname().machine)
    calls = {name: row[column] for name, row in REFUSED.items() if row[column] is not None}
    found = await here.attempt(
        {n: f"call({number}, -1, -1, -1, -1, -1)" for n, number in calls.items()}
    )
    later = await here.attempt({"later": "call(463, 0, 0, 0, 0)", "far": "call(5000, 0)"})

    assert {name: how for name, how in found.items() if how != "EPERM"} == {}
    assert set(later.values()) == {"ENOSYS"}


async def test_another_architectures_calls_end_the_program(here: Machine) -> None:
    """The x32 numbers of x86_64 would pass a filter that looks at plain numbers only."""
    if not _machine().x32:
        pytest.skip("only x86_64 has a second set of numbers")
    done = await here.run("import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)")

    assert done.exit.signal == 31  # SIGSYS


async def test_a_terminal_cannot_be_fed(here: Machine) -> None:
    ioctl = _machine().ioctl
    found = await here.attempt(
        {
            "TIOCSTI": f"call({ioctl}, 0, 0x5412, b'x')",
            "high bits": f"call({ioctl}, 0, ctypes.c_ulong(0xFF00005412), b'x')",
        }
    )

    assert set(found.values()) == {"EPERM"}


def _command_lines() -> bytes:
    return subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, check=True).stdout


def _machine() -> Architecture:
    return ARCHITECTURES[os.uname().machine]


def _number(name: str) -> int:
    number = REFUSED[name][list(ARCHITECTURES).index(os.uname().machine)]
    assert number is not None
    return number
