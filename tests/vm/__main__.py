"""`python -m tests.vm`: the sandbox contract on a Linux that has control groups v2 only.

In a virtual machine without hardware support, on the file system of this one. Takes a
quarter of an hour; ends with pytest's code. See docs/guides/test-sandboxes.md.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from pathlib import Path

from tests.vm.images import HERE, Parts, find_parts, write_start

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "cpio": "cpio", "dpkg": "dpkg"}
# How much longer than on a processor things may take.
PATIENCE = 10
TESTS = ["tests/contracts/test_sandboxes*.py", "tests/workers/test_sandboxes*.py"]
MEMORY_MB = 2048
SHARE = "local,path=/,mount_tag=outside,security_model=passthrough,readonly=on,multidevs=remap"
ENDED = b"vm: ended with "
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "argosy-vm")


def main() -> int:
    """Run all that are named; returns the exit code."""
    given = _arguments()
    missing = [package for name, package in PROGRAMS.items() if shutil.which(name) is None]
    if missing:
        sys.exit(f"apt-get install --no-install-recommends {' '.join(missing)}")
    parts = find_parts(given.cache)
    # Or each test process there would compile it all, in memory, ten times as slowly.
    for name in ("stdlib", "purelib"):
        compileall = [sys.executable, "-m", "compileall", "-q", "-j0", sysconfig.get_path(name)]
        subprocess.run(compileall, stdout=subprocess.DEVNULL, check=False)
    code = _run(parts, given.pytest, given.minutes * 60)
    words = "did not come to an end" if code is None else f"ended with {code}"
    sys.stdout.write(f"vm: the tests {words}\n")
    return 1 if code is None else code


def _run(parts: Parts, words: list[str], seconds: float) -> int | None:
    """Boot once, and pass on what it says; returns pytest's code, None if there was none."""
    with tempfile.TemporaryDirectory(prefix="argosy-vm-") as folder:
        copy = _copy_checkout(Path(folder, "checkout"))
        start = write_start(parts, _settings(copy), _pytest(words), Path(folder))
        machine = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"),
                *("-m", str(MEMORY_MB), "-nodefaults", "-no-reboot", "-nic", "none"),
                *("-display", "none", "-serial", "stdio"),
                *("-kernel", str(parts.kernel), "-initrd", str(start)),
                *("-append", "console=ttyS0 quiet panic=1 rdinit=/init"),
                *("-virtfs", SHARE),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        clock = threading.Timer(seconds, machine.kill)
        clock.start()
        try:
            return _listen(machine)
        finally:
            clock.cancel()
            machine.kill()
            machine.wait()


def _listen(machine: subprocess.Popen[bytes]) -> int | None:
    assert machine.stdout is not None
    code = None
    for line in machine.stdout:
        sys.stdout.write(line.decode(errors="replace").replace("\r", ""))
        sys.stdout.flush()
        if line.startswith(ENDED):
            code = int(line.removeprefix(ENDED))
    return code


def _copy_checkout(to: Path) -> Path:
    """A checkout that is not edited while the tests run, or read half of an edit."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)
    return to


def _settings(copy: Path) -> str:
    """What script.sh wants to know, and then script.sh."""
    given = {"CHECKOUT": str(ROOT), "COPY": str(copy), "PYTHON": sys.prefix}
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in given.items()]
    return "".join(lines) + (HERE / "script.sh").read_text()


def _pytest(words: list[str]) -> str:
    """What `none` does is shown on this machine, faster: by the suite itself."""
    command = [sys.executable, "-m", "pytest", "-o", "addopts=--import-mode=importlib"]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist", "--color=no", "-v", "--tb=short"]
    command += ["-k", "not ordinary_user", f"--timeout={120 * PATIENCE}", *words]
    environment = {
        "HOME": "/tmp",
        "ARGOSY_REQUIRE": "bwrap,cgroups",
        "ARGOSY_TEST_BACKENDS": "cgroups",
        "ARGOSY_TEST_PATIENCE": str(PATIENCE),
    }
    exports = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
    files = [] if any(word.startswith("tests/") for word in words) else TESTS
    return "".join(exports) + f"exec {shlex.join(command)} {' '.join(files)}\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"where kernels are ({CACHE})")
    parser.add_argument("--minutes", type=float, default=60, help="the longest it may take")
    parser.add_argument("--pytest", action="append", default=[], help="a word more for pytest")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
