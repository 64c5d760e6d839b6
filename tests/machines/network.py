"""Several machines on one: a namespace of network, mounts and name for each, joined by a switch.

The switch is a bridge in a namespace of its own, so nothing of the host's network is touched, and
a namespace ends with the last process in it. What is cut off hears nothing, not even that there is
no such neighbour any more: packets vanish, as they do behind a router.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import require
from tests.e2e.servers import ROOT
from workers.dev.processes import LEASH

NETWORK = "10.77.0"
MOST_MACHINES = 16
_PROGRAMS = ("ip", "nsenter", "unshare", "mount", "hostname", "sh", "sleep")


class Machine:
    """A namespace with one address. `pid`: a process that does nothing but keep it."""

    def __init__(self, name: str, address: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.address = address
        self.process = process

    @property
    def pid(self) -> int:
        """The process that keeps it."""
        return self.process.pid

    def command(self, words: Sequence[str]) -> list[str]:
        """Return what runs a command there. It keeps its process id."""
        kinds = [f"--{kind}=/proc/{self.pid}/ns/{kind}" for kind in ("net", "uts")]
        enter = [str(shutil.which("nsenter")), f"--mount=/proc/{self.pid}/ns/mnt", *kinds]
        return [*enter, f"--wdns={ROOT}", "--", *words]

    def ip(self, *lines: str) -> None:
        """Set its network up."""
        done = subprocess.run(
            self.command(["ip", "-batch", "-"]),
            input="\n".join(lines),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{lines} on {self.name}: {done.stderr}"


class Network:
    """A switch, and the machines on it. `root`: below it each has a disk of its own, `disk`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.disk = root / "disk"
        self.disk.mkdir()
        self._machines: dict[str, Machine] = {}
        self._switch = self._hold("switch", "")
        self._switch.ip("link add bridge type bridge", "link set bridge up")

    def machine(self, name: str) -> Machine:
        """Return a machine by its name; it is there from the first time on."""
        if name not in self._machines:
            number = len(self._machines) + 1
            machine = self._hold(name, f"{NETWORK}.{number}")
            self._machines[name] = machine
            link = f"link add {name} type veth peer name eth0 address {_mac(number)}"
            self._switch.ip(f"{link} netns {machine.pid}", f"link set {name} master bridge up")
            neighbours = [
                f"neighbour add {NETWORK}.{each} lladdr {_mac(each)} nud permanent dev eth0"
                for each in range(1, MOST_MACHINES + 1)
                if each != number
            ]
            address = f"address add {machine.address}/24 dev eth0"
            machine.ip(address, "link set eth0 up", "link set lo up", *neighbours)
        return self._machines[name]

    def cut(self, machine: Machine) -> None:
        """Take a machine off the network."""
        self._switch.ip(f"link set {machine.name} down")

    def mend(self, machine: Machine) -> None:
        """Put it back."""
        self._switch.ip(f"link set {machine.name} up")

    def close(self) -> None:
        """End all machines."""
        for machine in (*self._machines.values(), self._switch):
            machine.process.kill()
            if machine.process.stdout is not None:
                machine.process.stdout.close()
            machine.process.wait()

    def _hold(self, name: str, address: str) -> Machine:
        """Start what keeps a namespace, with a disk that no other machine sees."""
        disk = self._root / f"disk-of-{name}"
        disk.mkdir(mode=0o755)
        steps = f"hostname {name} && mount --bind {disk} {self.disk} && echo up && exec sleep inf"
        unshare = [str(shutil.which("unshare")), "--net", "--mount", "--uts", "sh", "-c", steps]
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *unshare],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n", f"no namespace for {name}"
        return Machine(name, address, process)


@contextmanager
def on(machine: Machine) -> Generator[None]:
    """Let the calling thread, and threads that it starts, use the machine's network."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/proc/{machine.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.setns(there, os.CLONE_NEWNET)
        yield
    finally:
        os.setns(home, os.CLONE_NEWNET)
        os.close(home)
        os.close(there)


def _mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def need_namespaces() -> None:
    """Skip the test, or fail where it is required, if a network of its own cannot be made."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        require("netns", f"there is no {' and no '.join(missing)}")
    if os.geteuid() != 0:
        require("netns", "only root may make networks of machines")
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--uts", "ip", "link", "add", "tried", "type", "bridge"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode != 0:
        require("netns", f"no bridge can be made: {tried.stderr.strip()}")


def end(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> None:
    """End a process in order, or by force after 20 s."""
    process.send_signal(number)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
